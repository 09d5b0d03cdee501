"""The lending side: the features of a loan, the models that were compared, their evaluation, and the champion that ships."""
