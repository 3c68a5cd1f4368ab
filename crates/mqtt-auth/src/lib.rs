//! Password files, hashes and access control lists: contents in, verdict out.
