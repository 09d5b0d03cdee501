"""The lending side: what a loan is, which models were tried, how they were judged, and the champion that ships."""
