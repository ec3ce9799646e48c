//! Name service pinning for a statically linked glibc.

use std::ffi::{CStr, c_char, c_int};

#[allow(unsafe_code)]
unsafe extern "C" {
    /// glibc, `<nss.h>`: replaces the line of `/etc/nsswitch.conf` for one
    /// data base of this process.
    fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
}

/// The back ends that are inside `libc.a` itself since glibc 2.34.
const PINNED: [(&CStr, &CStr); 9] = [
    (c"hosts", c"files dns"),
    (c"passwd", c"files"),
    (c"group", c"files"),
    (c"shadow", c"files"),
    (c"initgroups", c"files"),
    (c"services", c"files"),
    (c"protocols", c"files"),
    (c"networks", c"files"),
    (c"netgroup", c"files"),
];

/// Limits name look-ups of this process to `files` and `dns`.
///
/// A static glibc still loads the modules named in the guest's
/// `/etc/nsswitch.conf` (`systemd`, `resolve`, `myhostname`...), and with them
/// the guest's own libc of another version; the process then dies at the first
/// look-up those modules are asked for, such as that of a user who does not
/// exist. Must run before any thread is started and before any look-up: the
/// first line of `main`.
///
/// Users known only to other services (LDAP, systemd's dynamic users) and
/// names only known to mDNS are invisible afterwards; programs started by the
/// agent are not affected.
pub fn pin_name_services() {
    for (database, services) in PINNED {
        // SAFETY: both arguments are NUL-terminated and live for the whole
        // program, and glibc only reads them. The function is not safe against
        // concurrent look-ups, which the contract above rules out.
        #[allow(unsafe_code)]
        let status = unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
        // It fails only for an unknown data base or for lack of memory at
        // start; both would leave the process as exposed as it was before.
        debug_assert_eq!(status, 0, "pinning {database:?}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn look_ups_still_work_and_unknown_users_are_simply_absent() {
        super::pin_name_services();
        let root = nix::unistd::User::from_name("root").unwrap();
        assert_eq!(root.unwrap().uid.as_raw(), 0);
        assert!(
            nix::unistd::User::from_name("no-such-user-here")
                .unwrap()
                .is_none()
        );
    }
}
