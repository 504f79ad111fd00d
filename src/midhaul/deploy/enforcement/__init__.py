"""Make a link obey: pace topics, shape ports, and the lab in which that is measured."""
