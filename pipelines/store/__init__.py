"""Image stores and heatmap stores: LMDB files, immutable once published, read without copies.

`format` and `heatmaps` say what lies in the files. The files are LMDB's, and any LMDB tool reads them; the code that
writes and reads them is ours. The writer (`lmdb_write`) puts down each page once and says where each record begins; the
reader (`lmdb_read`, `index`) takes records as slices of the mapped file and survives damaged pages, where LMDB may end
the process.
"""
