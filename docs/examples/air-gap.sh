#!/usr/bin/env bash
# Two machines without a network make their keys equal: each writes files, somebody carries them. Here the machines are
# the directories `alice-site` and `bob-site`, and `carry` is what somebody does with a medium. Both commands keep running
# in between: a process that ends loses its session. Works in the current directory, which should be empty.
set -euo pipefail
shopt -s nullglob

caligo keys simulate --bits 2^18 --qber 0.02 --seed 1 --out sifted
mkdir -p alice-site bob-site
mv sifted/alice.bin alice-site/key.bin
mv sifted/bob.bin bob-site/key.bin
(umask 077 && head -c 32 /dev/urandom > alice-site/psk && cp alice-site/psk bob-site/psk)

side() { # ROLE, at that role's site
    cd "$1-site" && exec caligo "$1" key.bin --directory frames --psk psk --timeout 60 --out . --json > report.json
}
side alice & alice=$!
side bob & bob=$!

carry() { # DIRECTION FROM TO: everything that is there; again is harmless, and so is any order
    mkdir -p "$3/frames/$1"
    for frame in "$2/frames/$1"/*.frame; do
        cp "$frame" "$3/frames/$1/"
    done
}
trips=0
while kill -0 "$alice" 2> /dev/null || kill -0 "$bob" 2> /dev/null; do
    carry alice-to-bob alice-site bob-site
    carry bob-to-alice bob-site alice-site
    trips=$((trips + 1))
    sleep 0.1
done
wait "$alice"
wait "$bob"

# Only where both keys are in one place can this be asked.
cmp alice-site/alice.bin bob-site/bob.bin
echo "the two keys are equal, after $trips trips; the frames that were carried are the transcript"
