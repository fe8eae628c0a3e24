//! Whose a flow is, in words.

use proxy_core::harmless::harmless;
use proxy_plane::flows::{Flow, Process};

/// Who calls whom; `-` whose process is not known here.
pub(crate) fn processes(flow: &Flow) -> String {
    let name = |process: &Option<Process>| match process {
        Some(process) => format!("{} {}", harmless(&process.comm), process.pid),
        None => "-".to_owned(),
    };
    format!("{} > {}", name(&flow.client_process), name(&flow.server_process))
}

/// The pod, where it is known which one it is; else the workload.
pub(crate) fn pod(workload: &str, namespace: Option<&str>, name: Option<&str>) -> String {
    match (namespace, name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        _ => workload.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_called_by_its_name_where_it_has_one() {
        assert_eq!(pod("1-2", Some("shop"), Some("web-0")), "shop/web-0");
        assert_eq!(pod("1-2", None, None), "1-2");
    }
}
