#!/usr/bin/env bash
# Two processes make their keys equal over TCP. Here they share one machine; on two, each has its own key file, the same
# pre-shared key, and Bob names Alice's machine. Works in the current directory, which should be empty.
#
#   two-machines.sh [PORT]
set -euo pipefail
port=${1:-7117}

# What a link delivers: two sifted keys that differ in 2 % of places. And a secret that both machines have.
caligo keys simulate --bits 2^18 --qber 0.02 --seed 1 --out sifted
(umask 077 && head -c 32 /dev/urandom > psk)

caligo alice sifted/alice.bin --listen "127.0.0.1:$port" --psk psk --timeout 20 --out alice --json > alice.json &
alice=$!
caligo bob sifted/bob.bin --connect "127.0.0.1:$port" --psk psk --timeout 20 --out bob --json > bob.json || {
    wait "$alice" || true # she was told, and says why
    exit 1
}
wait "$alice"

# Only where both keys are in one place can this be asked.
cmp alice/alice.bin bob/bob.bin
echo "the two keys are equal; what was disclosed is leakage_bits in alice.json and bob.json"
