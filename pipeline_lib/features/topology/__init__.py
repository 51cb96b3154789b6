"""The shape of a customer's spending: persistence diagrams of his events, and how they change within a year.

``cloud`` turns the events of a window into points, ``rips`` computes the bars of their Vietoris-Rips filtration,
``bars`` holds and summarises them, ``cohorts`` says what is usual among similar customers, ``matching`` compares two
diagrams, ``phase`` the halves of a year, ``groups`` wires the three groups. Clouds are built from the events of one
customer, never from rows of a table. Source: features.md 7.
"""
