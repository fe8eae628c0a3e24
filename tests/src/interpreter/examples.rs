//! The interpreter's own semantics, where the rule sets of the oracle do not show them.

use rstest::rstest;

use super::{Fate, Groups, Packet, Protocol, Ruleset, arriving, locally_generated};

fn ruleset(text: &str) -> Ruleset {
    Ruleset::parse(text, &Groups::from([("java".to_owned(), 203)])).unwrap()
}

fn sent(owner: Option<(u32, u32)>) -> Packet {
    Packet {
        protocol: Protocol::Tcp,
        src: "10.244.0.2".parse().unwrap(),
        dst: "10.96.7.7".parse().unwrap(),
        sport: 40_000,
        dport: 80,
        in_interface: None,
        out_interface: Some("eth0".into()),
        owner,
        mark: 0,
        connmark: 0,
        zone: None,
    }
}

#[rstest]
#[case::is("-m owner --uid-owner 5", Some((5, 6)), true)]
#[case::is_not("-m owner ! --uid-owner 5", Some((5, 6)), false)]
#[case::nobody_is("-m owner --uid-owner 5", None, false)]
#[case::nobody_is_not("-m owner ! --uid-owner 5", None, true)]
#[case::group_by_name("-m owner --gid-owner java", Some((5, 203)), true)]
#[case::all_must_hold("-m owner ! --gid-owner 6 -m owner ! --gid-owner java", Some((5, 6)), false)]
#[case::host_bits("-d 10.96.1.2/16", None, true)]
#[case::everything("-d 0.0.0.0/0", None, true)]
#[case::nothing("! -d 0.0.0.0/0", None, false)]
#[case::ports("-m multiport ! --dports 53,80", None, false)]
#[case::other_interface("! -o eth1", None, true)]
#[case::no_such_interface("-o eth", None, false)]
#[case::state("-m conntrack --ctstate RELATED,ESTABLISHED", None, false)]
fn matches(#[case] text: &str, #[case] owner: Option<(u32, u32)>, #[case] holds: bool) {
    let rules = format!("*nat\n-A OUTPUT -p tcp {text} -j REDIRECT --to-ports 9\nCOMMIT\n");
    let fate = locally_generated(&ruleset(&rules), sent(owner)).fate;
    assert_eq!(fate, if holds { Fate::Port(9) } else { Fate::Untouched });
}

#[test]
fn an_inserted_rule_comes_first_and_a_later_insert_before_it() {
    let rules = ruleset(
        "*nat\n-A OUTPUT -p tcp -j REDIRECT --to-ports 1\n-I OUTPUT 1 -p tcp -j REDIRECT --to-ports 2\n\
         -I OUTPUT 1 -p udp -j REDIRECT --to-ports 3\n-I OUTPUT 3 -p tcp -j REDIRECT --to-ports 4\nCOMMIT\n",
    );
    assert_eq!(locally_generated(&rules, sent(None)).fate, Fate::Port(2));
}

#[test]
fn the_end_of_a_chain_and_return_go_on_in_the_caller() {
    let rules = ruleset(
        "*nat\n-N A\n-N B\n-A B -p udp -j REDIRECT --to-ports 1\n-A A -j RETURN\n\
         -A A -p tcp -j REDIRECT --to-ports 2\n-A OUTPUT -j B\n-A OUTPUT -j A\n\
         -A OUTPUT -p tcp -j REDIRECT --to-ports 3\nCOMMIT\n",
    );
    assert_eq!(locally_generated(&rules, sent(None)).fate, Fate::Port(3));
}

#[test]
fn return_in_a_builtin_chain_is_its_policy() {
    let rules = ruleset("*nat\n-A OUTPUT -j RETURN\n-A OUTPUT -p tcp -j REDIRECT --to-ports 3\nCOMMIT\n");
    assert_eq!(locally_generated(&rules, sent(None)).fate, Fate::Untouched);
}

#[test]
fn nat_decides_once_but_mangle_sees_lo_again() {
    let local = Packet { out_interface: Some("lo".into()), ..sent(None) };
    let nat = ruleset("*nat\n-A PREROUTING -p tcp -j REDIRECT --to-ports 3\nCOMMIT\n");
    assert_eq!(locally_generated(&nat, local.clone()).fate, Fate::Untouched);
    let mangle = "*mangle\n-A OUTPUT -p tcp -o lo -j MARK --set-mark 7\n\
        -A PREROUTING -i lo -p tcp -m mark --mark 7 -j TPROXY --tproxy-mark 1/0xffffffff --on-port 3\nCOMMIT\n";
    assert_eq!(locally_generated(&ruleset(mangle), local).fate, Fate::Port(3));
}

#[test]
fn tproxy_wins_over_redirect() {
    let rules = ruleset(
        "*mangle\n-A PREROUTING -p tcp -j TPROXY --tproxy-mark 1/0xffffffff --on-port 3\nCOMMIT\n\
         *nat\n-A PREROUTING -p tcp -j REDIRECT --to-ports 4\nCOMMIT\n",
    );
    let packet = Packet { in_interface: Some("eth0".into()), out_interface: None, ..sent(None) };
    assert_eq!(arriving(&rules, packet).fate, Fate::Port(3));
}

#[test]
fn the_first_zone_counts() {
    let rules = ruleset("*raw\n-A OUTPUT -p tcp -j CT --zone 1\n-A OUTPUT -p tcp -j CT --zone 2\nCOMMIT\n");
    assert_eq!(locally_generated(&rules, sent(None)).packet.zone, Some(1));
}

#[rstest]
#[case::no_commit("*nat\n-N A\n")]
#[case::no_chain("*nat\n-A A -j RETURN\nCOMMIT\n")]
#[case::twice("*nat\n-N A\n-N A\nCOMMIT\n")]
#[case::jump_nowhere("*nat\n-A OUTPUT -j A\nCOMMIT\n")]
#[case::too_far("*nat\n-I OUTPUT 2 -j RETURN\nCOMMIT\n")]
#[case::port_without_protocol("*nat\n-A OUTPUT --dport 80 -j RETURN\nCOMMIT\n")]
#[case::in_interface_in_output("*nat\n-A OUTPUT -i lo -j RETURN\nCOMMIT\n")]
#[case::no_target("*nat\n-A OUTPUT -p tcp\nCOMMIT\n")]
#[case::unknown_group("*nat\n-A OUTPUT -m owner --gid-owner nobody -j RETURN\nCOMMIT\n")]
#[case::redirect_elsewhere("*mangle\n-A OUTPUT -p tcp -j REDIRECT --to-ports 1\nCOMMIT\n")]
#[case::rest("*nat\n-A OUTPUT -j RETURN now\nCOMMIT\n")]
fn refused(#[case] text: &str) {
    assert!(Ruleset::parse(text, &Groups::new()).is_err());
}

/// What iptables-nft-save 1.8.9 prints for rules of Istio's, and what they were.
#[test]
fn what_save_prints_means_what_restore_read() {
    let restore = "*nat\n-N ISTIO_INBOUND\n-A PREROUTING -p tcp -j ISTIO_INBOUND\n\
        -A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n\
        -A ISTIO_INBOUND -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n\
        *mangle\n-A PREROUTING -p tcp -m mark ! --mark 1337 -j MARK --set-mark 1338\n\
        -A PREROUTING -p tcp -m mark --mark 1338 -j CONNMARK --save-mark\n\
        -A PREROUTING -p tcp --dport 9 -m conntrack --ctstate NEW -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 3\n\
        COMMIT\n";
    let save = "# Generated by iptables-nft-save v1.8.9 (nf_tables)\n*nat\n:PREROUTING ACCEPT [0:0]\n\
        :INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:ISTIO_INBOUND - [0:0]\n-A PREROUTING -p tcp -j ISTIO_INBOUND\n\
        -A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN\n\
        -A ISTIO_INBOUND -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n# Completed\n\
        *mangle\n:PREROUTING ACCEPT [0:0]\n\
        -A PREROUTING -p tcp -m mark ! --mark 0x539 -j MARK --set-xmark 0x53a/0xffffffff\n\
        -A PREROUTING -p tcp -m mark --mark 0x53a -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff\n\
        -A PREROUTING -p tcp -m tcp --dport 9 -m conntrack --ctstate NEW -j TPROXY --on-port 3 --on-ip 0.0.0.0 \
        --tproxy-mark 0x539/0xffffffff\nCOMMIT\n";
    for dport in [9, 80, 15008] {
        let packet = Packet { in_interface: Some("eth0".into()), out_interface: None, dport, ..sent(None) };
        let [read, printed] = [restore, save].map(|text| {
            let journey = arriving(&ruleset(text), packet.clone());
            (journey.fate, journey.packet.mark, journey.packet.connmark)
        });
        assert_eq!(read, printed, "{dport}");
    }
}
