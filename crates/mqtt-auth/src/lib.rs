//! Who may come in and what they may touch: password files, their hashes, SCRAM, access control
//! lists, pre-shared keys and dynamic security in Mosquitto's formats.
//!
//! Contents in, verdict out: this crate reads no file, no clock and no random source. The caller
//! reads files, brings the salt of a new hash, and decides on which thread a slow hash runs.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable
    )
)]

extern crate alloc;

mod acl;
mod acl_file;
mod dynsec;
mod filter;
mod hash;
mod password_file;
mod password_text;
mod psk_file;
mod scram;

pub use acl::{AclTable, AclVerdict, Action, Denial, Who};
pub use acl_file::{AclFileError, AclLineError};
pub use dynsec::{
    DYNSEC_ENTRIES_MAX, DYNSEC_SALT_BYTES, DYNSEC_TOPIC, DynamicRights, DynamicSecurity,
    DynsecFileError, Execution, InitialPasswords, PRIORITY_MAX, answer_queries,
};
pub use hash::argon2id::{
    ARGON2ID_HASH_BYTES_MAX, ARGON2ID_HASH_BYTES_MIN, ARGON2ID_LANES_MAX, ARGON2ID_MEMORY_KIB_MAX,
    ARGON2ID_PASSES_MAX, ARGON2ID_SALT_BYTES_MIN,
};
pub use hash::pbkdf2_sha512::{PBKDF2_ITERATIONS_DEFAULT, PBKDF2_ITERATIONS_MAX};
pub use hash::scram_sha256::{
    SCRAM_ITERATIONS_DEFAULT, SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN,
};
pub use hash::{HashError, NoMemory, PasswordHash, SALT_BYTES_MAX, Scheme};
pub use password_file::{PasswordFile, PasswordFileError, Verdict};
pub use password_text::{
    Change, Entry, PASSWORD_BYTES_MAX, PasswordText, USERNAME_BYTES_MAX, UsernameError, Warning,
    WarningKind, check_username,
};
pub use psk_file::{PSK_BYTES_MAX, PskFileError, PskTable, decode_psk};
pub use scram::{
    SCRAM_SHA_256, ScramClient, ScramError, ScramIdentity, ScramNonce, ScramProof, ScramServer,
};
