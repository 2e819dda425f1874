"""The table of docs/fal.md says what the clients' tests of this run have shown."""

import pytest

import fal_matrix


def test_the_table_in_the_docs_is_what_ran(request):
    """Every cell of the table passed in this run, and everything that passed is in the table; TALKIE_WRITE_MATRIX=1 writes it."""
    if reason := fal_matrix.unfinished(request.config):
        pytest.skip(f"the matrix is not whole: {reason}")
    if request.config.getoption("keyword") or request.config.getoption("markexpr"):
        pytest.skip("the matrix is not whole: some tests were deselected")
    known = request.config.stash[fal_matrix.KNOWN]
    failed = set().union(*known["collected"].values()) - known["passed"]
    assert not failed, f"a cell that failed is no cell that cannot be: {sorted(failed)}"
    ran = fal_matrix.table(known["passed"])
    if fal_matrix.asked_to_write():
        fal_matrix.write(ran)
    assert fal_matrix.written() == ran
