"""The experiments of the AIOS paper (arXiv 2403.16971) on the embedded model: `python -m scripts.bench.paper`.

One module an experiment, each with `async def run(options) -> Findings`: consistency.py (context switches change no
output), waiting.py (waiting and turnaround under each policy), fairness.py, scale.py and throughput.py. Those on a node
share agents.py, which has the agents that follow a script, and nodes.py, which runs them; findings.py writes rows,
figures and the figures' data.
"""
