"""The field's tables: what was published beside what was found here, chance, and controls."""

STUDIES = ("things_eeg2", "eegcvpr")
CONTROLS = {"noise": "retrained on noise", "shuffled_pairs": "retrained on shuffled pairs"}
"""Control to the words of its row.

Noise (Jo et al., arXiv 2405.06459): every epoch, of training and of test, is noise with the mean and the
covariance of its recording's. Shuffled pairs: epochs are real, and within each subject the pictures of training
trials are dealt out anew.
"""
