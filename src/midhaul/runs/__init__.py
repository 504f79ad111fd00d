"""Experiments as files, runs as folders.

An experiment file is read into a :class:`Config`; running it fills the folder of a
:class:`Run`. Nothing here knows what an experiment is about.
"""
