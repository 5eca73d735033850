"""Fleets of agents on our engine and on servers that speak HTTP, in one run: `python -m scripts.bench.fleet`.

An `Endpoint` (endpoint.py) completes token prompts. Behind it is our worker process (ours.py) or any server
(http_endpoint.py); servers.py starts llama-server and others. load.py is what the agents do, probes.py what is measured
beside the fleets, rows.py what is said about it. Every endpoint gets the same token ids, lengths, threads and greedy
sampling.
"""
