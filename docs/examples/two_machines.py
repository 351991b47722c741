"""One side of two over TCP, in Python. Alice listens, Bob connects.

    python two_machines.py alice KEY HOST:PORT PSK OUT
    python two_machines.py bob KEY HOST:PORT PSK OUT

KEY is this side's sifted key, PSK a file with the secret that both sides have (32 bytes or more, mode 0600); the
reconciled key goes to the directory OUT.
"""

from __future__ import annotations

import sys

import caligo


def main(role: str, key: str, address: str, psk: str, out: str) -> int:
    """Make this side's key equal to the peer's."""
    host, _, port = address.rpartition(":")
    make = caligo.TcpTransport.listen if role == "alice" else caligo.TcpTransport.connect
    try:
        with make((host, int(port))) as transport:
            report = caligo.reconcile_party(
                role,
                key,
                transport,
                authentication=caligo.PresharedKey(caligo.read_secret(psk)),
                options=caligo.ReconcileOptions(target_fer=0.001),
                party=caligo.PartyOptions(timeout_s=20.0),
                out=out,
            )
    except caligo.CaligoError as error:
        # Neither key may be used now: what was disclosed stays disclosed.
        print(f"{role}: {error.message}", file=sys.stderr)
        return int(error.exit_code)
    print(
        f"{role}: {report.reconciled_bits} bits in {report.out}; subtract {report.leakage_bits} "
        f"({report.leakage_bits_both_ways} if Bob's replies count); "
        f"the keys differ with probability {report.epsilon_correctness:.1e} at most"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 6 else __doc__)
