"""Checked tables in, point-in-time features out; then the checks that no label and no future reached them.

from pipeline_lib.features import build, check

check.check_tables(ctx)      # after labels, before features
build.build(ctx)
check.check_features(ctx)    # before training
"""
