//! A process inside a user namespace: a namespace's ids are only to be read from a process in it, and only a process of
//! one thread can go there.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsRawFd, BorrowedFd},
};

/// It waits inside, and ends with this value.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
}

impl Child {
    pub fn within(userns: BorrowedFd<'_>) -> io::Result<Self> {
        let (mut outcome, told) = io::pipe()?;
        let (userns, told_fd) = (userns.as_raw_fd(), told.as_raw_fd());
        let parent = libc::pid_t::try_from(std::process::id()).map_err(io::Error::other)?;
        // SAFETY: the child makes system calls only: another thread may hold any lock of the library.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => return Err(io::Error::last_os_error()),
            0 => wait_inside(userns, told_fd, parent),
            _ => {}
        }
        let child = Self { pid };
        drop(told);
        let mut errno = [0; size_of::<i32>()];
        outcome.read_exact(&mut errno)?;
        match i32::from_ne_bytes(errno) {
            0 => Ok(child),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// The text of /proc/PID/`name`.
    pub fn read(&self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        // 340 rows of three numbers.
        File::open(format!("/proc/{}/{name}", self.pid))?.take(64 << 10).read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child, that nobody else waits for.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        let again = || io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        // SAFETY: as above; the status is not asked for.
        while unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) } < 0 && again() {}
    }
}

/// Goes inside, says how that went, and waits for its end.
fn wait_inside(userns: i32, told: i32, parent: libc::pid_t) -> ! {
    // SAFETY: an open descriptor and a flag.
    let entered = unsafe { libc::setns(userns, libc::CLONE_NEWUSER) };
    // SAFETY: the errno of this thread.
    let errno: i32 = if entered == 0 { 0 } else { unsafe { *libc::__errno_location() } };
    // A change of credentials takes this wish back, so that it comes after.
    // SAFETY: plain integers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // SAFETY: no arguments. Whoever has ended before the wish sends no signal.
    let orphaned = unsafe { libc::getppid() } != parent;
    // SAFETY: an open descriptor and a buffer of this length.
    let written = unsafe { libc::write(told, (&raw const errno).cast(), size_of::<i32>()) };
    if !orphaned && errno == 0 && written > 0 {
        loop {
            // SAFETY: no arguments. A handler of the parent's may return from it.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: ends the process without running anything of the parent's.
    unsafe { libc::_exit(0) }
}
