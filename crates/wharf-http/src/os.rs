//! How the bytes of a URL become a file name on each system.
//!
//! The only file of this crate that asks which system it is compiled for.

use std::ffi::OsString;

/// The file name that these bytes are; `None` if the system cannot have such a name.
///
/// On Unix every string of bytes is a name. Elsewhere names are text, and a URL's is UTF-8.
#[cfg(unix)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "other systems have names that cannot be"
)]
pub(crate) fn name_from_bytes(bytes: Vec<u8>) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt;
    Some(OsString::from_vec(bytes))
}

/// The file name that these bytes are; `None` if the system cannot have such a name.
#[cfg(not(unix))]
pub(crate) fn name_from_bytes(bytes: Vec<u8>) -> Option<OsString> {
    String::from_utf8(bytes).ok().map(OsString::from)
}

#[cfg(all(test, unix))]
mod tests {
    use crate::target::{Rules, Target, encode};
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_that_are_not_utf_8_come_back_byte_for_byte() {
        let target = Target::parse("/%ff%fe", Rules::new(false)).unwrap();
        let name = target.name().unwrap();
        assert_eq!(name.as_bytes(), [0xff, 0xfe]);
        assert_eq!(encode(name), "%FF%FE");
    }
}
