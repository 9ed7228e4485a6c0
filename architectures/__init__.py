"""Encoders, one readable file each. Importing the package registers the built-in ones, in the order of reports."""

from architectures import rnn, lstm, gru  # noqa: F401, I001
from architectures import conv1d, tcn  # noqa: F401
from architectures import attention, attention_naive  # noqa: F401
from architectures import windowed, shifted_window  # noqa: F401
from architectures import resnet, vit, cct, swin  # noqa: F401
