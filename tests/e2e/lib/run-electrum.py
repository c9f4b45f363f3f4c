"""Runs Debian's Electrum. On regtest it opens every channel at 45,000 satoshi per 1000 weight, which cannot be set, and which
Rillpay takes for no channel without anchors: here the environment's ELECTRUM_REGTEST_RATE, in satoshi per kvB, is in its place."""

import os
import runpy

import electrum.simple_config

electrum.simple_config.FEERATE_REGTEST_HARDCODED = int(os.environ["ELECTRUM_REGTEST_RATE"])
runpy.run_path(os.path.join(os.path.dirname(electrum.simple_config.__file__), "electrum"), run_name="__main__")
