"""CPN, the detector of the papers: `network.py` is the network, `detector.py` what runs it."""
