//! How many files the process may have open: every connection is one.

use std::io;

/// The most descriptors that the process may allow itself: the hard limit.
///
/// # Errors
/// Fails when the operating system does not tell.
pub fn most() -> io::Result<usize> {
    Ok(bounded(read()?.rlim_max))
}

/// Raises the soft limit to the hard one, and gives it. Only programs that call `select` need the
/// low soft limit that systems have for their sake; nothing here does.
///
/// # Errors
/// Fails when the operating system does not let it; then the limit stays as it was.
pub fn raise() -> io::Result<usize> {
    let mut limit = read()?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        #[expect(
            unsafe_code,
            reason = "the limit is a plain struct that lives for the call, which only reads it"
        )]
        let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(bounded(limit.rlim_cur))
}

fn read() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    #[expect(
        unsafe_code,
        reason = "the limit is a plain struct that lives for the call, which only writes it"
    )]
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if done == 0 {
        Ok(limit)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// "No limit" is the largest number there is.
fn bounded(limit: libc::rlim_t) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let most = most().unwrap();
        assert_eq!(raise().unwrap(), most);
        assert_eq!(bounded(read().unwrap().rlim_cur), most);
    }
}
