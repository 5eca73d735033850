"""What the node asks of the scheduler. Internal to the kernel."""

from aios_actors.actors import Message


class SetPolicy(Message[None], frozen=True):
    """From now on this policy decides who gets the model next; what waits goes over to it.

    Attributes:
        model: a model that workers serve.
        policy: a name as in the config.

    Errors: NotFound (no such model), InvalidArgument (no such policy).
    """

    model: str
    policy: str
