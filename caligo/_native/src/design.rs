//! Code design: the error probability of every synthetic channel.
