"""What people and Apps can do: one function an action, for the REST, the pages and tests alike.

Each takes the hub and the actor, refuses as GitHub does (`refusals.Refusal`), changes the state and
emits the webhooks. Whoever calls it from outside a request commits the state after it.
"""
