"""Armol's learners: SAC, TD3 and PPO over subsets of providers."""
