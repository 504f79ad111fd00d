"""The corrector: what a fluid simulation of a path says, made what packets would."""
