from .actor_policy import ActorPolicy as ActorPolicy
from .environment import FederationEnv as FederationEnv
