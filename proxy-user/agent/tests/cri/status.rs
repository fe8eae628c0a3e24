//! What the runtime says of itself.

use proxy_agent::cri::{
    Runtime,
    v1::{RuntimeCondition, RuntimeStatus},
};

use crate::fake::Fake;

#[tokio::test]
async fn its_networks() {
    let fake = Fake::start(("containerd", "1.7.24"), vec![]);
    let mut runtime = Runtime::new(Some(fake.socket()));
    assert_eq!(runtime.networks().await.unwrap().has_loaded("sidestep-cni"), None);
    {
        let mut state = fake.state();
        let cni = r#"{"PluginConfDir":"/etc/cni/net.d",
            "Networks":[{"Config":{"Name":"n","Plugins":[{"Network":{"type":"sidestep-cni"}}]}}]}"#;
        state.status.info.insert("cniconfig".to_owned(), cni.to_owned());
        let ready =
            RuntimeCondition { r#type: "NetworkReady".to_owned(), status: true, ..Default::default() };
        state.status.status = Some(RuntimeStatus { conditions: vec![ready] });
    }
    let setup = runtime.networks().await.unwrap();
    assert_eq!(setup.list_dir, Some("/etc/cni/net.d".into()));
    assert_eq!((setup.has_loaded("sidestep-cni"), setup.ready), (Some(true), Ok(())));
}
