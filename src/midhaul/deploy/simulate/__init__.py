"""A gateway over time, in simulated time: slots, pulls, rates, departures."""
