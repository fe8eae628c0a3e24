//! Whatever an owner writes: it comes out of our hands to the byte as it went in.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;

use super::*;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        // Brackets and quotes that are none.
        select(vec!["]}", "\"", "\\", "sidestep-cni", "plugins"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((".{0,8}", inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// A list of plugins that are not ours, on one line or on many.
fn text() -> impl Strategy<Value = String> {
    let plugins = vec(("[a-z]{1,8}", value()), 1..5);
    (plugins, value(), select(VERSIONS.to_vec()), any::<bool>()).prop_map(
        |(plugins, other, version, pretty)| {
            let plugins: Vec<_> =
                plugins.into_iter().map(|(kind, more)| json!({ "type": kind, "more": more })).collect();
            let list = json!({ "cniVersion": version, "name": "n", "plugins": plugins, "zeta": other });
            if pretty { serde_json::to_string_pretty(&list).unwrap() } else { list.to_string() }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(text in text()) {
        let chained = chain(&text, &Entry::default()).unwrap();
        prop_assert_eq!(List::parse(&chained).unwrap().ours().len(), 1);
        prop_assert_eq!(&chain(&chained, &Entry::default()).unwrap(), &chained);
        prop_assert_eq!(without(&chained).unwrap(), text);
    }

    #[test]
    fn what_is_spoilt_is_refused_or_stays_a_list(
        text in text(),
        spots in vec((any::<prop::sample::Index>(), select(b"{}[],:\"\\ x1".to_vec())), 0..4),
    ) {
        let mut bytes = chain(&text, &Entry::default()).unwrap().into_bytes();
        for (index, byte) in spots {
            *index.get_mut(&mut bytes) = byte;
        }
        let Ok(spoilt) = String::from_utf8(bytes) else { return Ok(()) };
        if let Ok(chained) = chain(&spoilt, &Entry::default()) {
            prop_assert_eq!(List::parse(&chained).unwrap().ours().len(), 1);
            prop_assert!(List::parse(&without(&chained).unwrap()).unwrap().ours().is_empty());
        }
        let _ = wrap(&spoilt, &Entry::default());
    }
}
