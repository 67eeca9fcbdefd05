//! The secret that the hosts of a fleet share, as a file holds it.

use crate::limits::{FLEET_SECRET_BYTES_MAX, FLEET_SECRET_BYTES_MIN};

/// Of the state directory: the secret that the plane goes by.
pub const FILE: &str = "fleet.key";

/// The secret that a file with these bytes holds: all of them without the white space around them,
/// for an editor ends a line where another does not.
///
/// # Errors
///
/// In words, with what to do, when there are fewer than [`FLEET_SECRET_BYTES_MIN`] or more than
/// [`FLEET_SECRET_BYTES_MAX`].
pub fn of_file(bytes: &[u8]) -> Result<&[u8], String> {
    let secret = bytes.trim_ascii();
    let count = secret.len();
    if (FLEET_SECRET_BYTES_MIN..=FLEET_SECRET_BYTES_MAX).contains(&count) {
        return Ok(secret);
    }
    Err(format!(
        "a secret has {FLEET_SECRET_BYTES_MIN} to {FLEET_SECRET_BYTES_MAX} bytes, and this one \
         {count}; make one with: openssl rand -hex 32"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_stands_between_white_space() {
        let long = "0123456789abcdef".repeat(2);
        assert_eq!(of_file(long.as_bytes()), Ok(long.as_bytes()));
        let spaced = format!(" \n{long}\r\n");
        assert_eq!(of_file(spaced.as_bytes()), Ok(long.as_bytes()));
        assert!(of_file(&long.as_bytes()[1..]).is_err());
        assert!(of_file(format!("{}\n", &long[1..]).as_bytes()).is_err());
        assert!(of_file(&[b'a'; FLEET_SECRET_BYTES_MAX]).is_ok());
        assert!(of_file(&[b'a'; FLEET_SECRET_BYTES_MAX + 1]).is_err());
    }
}
