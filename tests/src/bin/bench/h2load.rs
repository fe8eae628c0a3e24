//! A load generator that reads as applications do: until there is nothing more, and never asking how much there is.

use std::net::SocketAddr;

use ::tests::pod::Pod;
use ::tests::server::APP_USER;
use anyhow::{Context as _, Result, ensure};

use crate::{case::Work, wrk::Answered};

/// Runs it in `pod` for `seconds`, with one thread.
pub(crate) fn run(pod: &Pod, at: SocketAddr, work: Work, seconds: u32) -> Result<Answered> {
    ensure!(!matches!(work, Work::Churn(_)), "h2load keeps its connections");
    let output = pod
        .command("h2load")
        .user(APP_USER.0, APP_USER.1)
        .args(["--h1", "-t", "1", "-c", &work.connections().to_string(), "-D", &seconds.to_string()])
        .arg(format!("http://{at}{}", work.path()))
        .run()?;
    let answered = parsed(&output).with_context(|| format!("read what h2load printed: {output}"))?;
    ensure!(
        answered.requests > 0 && answered.errors == 0,
        "h2load had no answer, or errors, from {at}: {output}"
    );
    Ok(answered)
}

/// None: it is not what h2load prints. Percentiles it does not tell.
fn parsed(output: &str) -> Option<Answered> {
    let line = |begin: &str| output.lines().find_map(|line| line.strip_prefix(begin));
    let (_, rate) = line("finished in ")?.split_once(", ")?;
    let rate: f64 = rate.split_once(" req/s")?.0.parse().ok()?;
    let requests = line("requests: ")?;
    let count = |name: &str| {
        requests.split(", ").find_map(|part| part.strip_suffix(name)?.trim().parse::<u64>().ok())
    };
    let answered = count("succeeded")?;
    let (_, bytes) = line("traffic: ")?.split_once('(')?;
    Some(Answered {
        requests: answered,
        // At the rate it printed, which is of the time it measured.
        duration_us: (answered as f64 * 1e6 / rate) as u64,
        bytes: bytes.split_once(')')?.0.parse().ok()?,
        p50_us: f64::NAN,
        p99_us: f64::NAN,
        errors: count("failed")? + count("errored")? + count("timeout")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "starting benchmark...\nspawning thread #0: 16 total client(s). Timing-based test with 1s of warm-up \
        time and 1s of main duration for measurements.\nfinished in 2.00s, 41234.50 req/s, 9.01MB/s\n\
        requests: 82469 total, 82485 started, 82469 done, 82469 succeeded, 1 failed, 2 errored, 3 timeout\n\
        status codes: 82469 2xx, 0 3xx, 0 4xx, 0 5xx\n\
        traffic: 18.01MB (18889000) total, 11.01MB (11545660) headers (space savings 0.00%), 4.72MB (4948140) data\n";

    #[test]
    fn what_it_prints_is_read() {
        let answered = parsed(OUTPUT).expect("what it prints");
        assert_eq!((answered.requests, answered.errors, answered.bytes), (82_469, 6, 18_889_000));
        assert_eq!(answered.duration_us, 2_000_000);
        assert!(parsed("finished in 1.00s").is_none());
    }
}
