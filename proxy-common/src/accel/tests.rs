//! Which path is chosen for a message.

use super::*;

const CALM: PathInputs = PathInputs {
    size: 100,
    queued: 0,
    limit: 1000,
    has_memory: true,
    drained: true,
    peer_activity: 0,
    off: false,
    stops_short: false,
    reads_blocking: false,
};

#[test]
fn either_end_counts_its_own_and_sees_the_others() {
    let (client, server) = (0xffff_8881_0000_1200, 0xffff_8881_0000_0900);
    assert_eq!(Activity::index(client, server), Activity::index(server, client));
    let mut shared = Activity::default();
    assert_eq!(shared.sent(client, server), 0);
    assert_eq!(shared.sent(client, server), 0);
    assert_eq!(shared.sent(server, client), 2);
    assert_eq!(shared.sent(client, server), 1);
}

#[test]
fn nothing_overtakes_what_is_on_the_stack() {
    let mut direction = DirectionState::default();
    assert_eq!(choose(&mut direction, &PathInputs { drained: false, ..CALM }), Path::Stack(Reason::Draining));
    assert_eq!(choose(&mut direction, &CALM), Path::Redirect);
}

#[test]
fn a_blocking_reader_is_redirected_to_again_after_it_has_answered() {
    let mut direction = DirectionState::default();
    let inputs = PathInputs { reads_blocking: true, ..CALM };
    assert_eq!(choose(&mut direction, &inputs), Path::Redirect);
    assert_eq!(
        choose(&mut direction, &PathInputs { drained: false, ..inputs }),
        Path::Stack(Reason::Draining)
    );
    assert_eq!(choose(&mut direction, &inputs), Path::Stack(Reason::BlockingReader));
    assert_eq!(choose(&mut direction, &PathInputs { peer_activity: 1, ..inputs }), Path::Redirect);
}

#[test]
fn the_limit_holds_at_its_edge_and_never_wraps() {
    let mut direction = DirectionState::default();
    assert_eq!(choose(&mut direction, &PathInputs { queued: 900, ..CALM }), Path::Redirect);
    assert_eq!(choose(&mut direction, &PathInputs { queued: 901, ..CALM }), Path::Stack(Reason::Limit));
    assert_eq!(
        choose(&mut direction, &PathInputs { size: u32::MAX, queued: 1, ..CALM }),
        Path::Stack(Reason::Limit)
    );
    assert_eq!(choose(&mut direction, &PathInputs { queued: u32::MAX, ..CALM }), Path::Stack(Reason::Limit));
}

#[test]
fn only_a_bound_leaves_redirected_bytes_behind() {
    let mut direction = DirectionState { small_run: SMALL_RUN, ..DirectionState::default() };
    let waiting =
        PathInputs { queued: 1, off: true, stops_short: true, size: WORTH_ALONE, limit: 1 << 20, ..CALM };
    assert_eq!(choose(&mut direction, &waiting), Path::Redirect);
    assert_eq!(choose(&mut direction, &PathInputs { size: 1, ..waiting }), Path::Redirect);
    assert_eq!(choose(&mut direction, &PathInputs { limit: 100, ..waiting }), Path::Stack(Reason::Limit));
    assert_eq!(choose(&mut direction, &PathInputs { queued: 0, ..waiting }), Path::Stack(Reason::Off));
}

#[test]
fn one_who_stops_short_is_left_to_the_stack_once_nothing_waits() {
    let mut direction = DirectionState::default();
    let inputs = PathInputs { stops_short: true, ..CALM };
    assert_eq!(choose(&mut direction, &PathInputs { queued: 1, ..inputs }), Path::Redirect);
    assert_eq!(choose(&mut direction, &inputs), Path::Stack(Reason::EdgeReader));
}

#[test]
fn nothing_is_handed_over_where_memory_is_short() {
    let mut direction = DirectionState::default();
    assert_eq!(
        choose(&mut direction, &PathInputs { has_memory: false, ..CALM }),
        Path::Stack(Reason::Memory)
    );
}

#[test]
fn one_way_trickles_stay_on_the_stack_and_conversations_do_not() {
    let mut direction = DirectionState::default();
    let paths: Vec<Path> = (0..=SMALL_RUN).map(|_| choose(&mut direction, &CALM)).collect();
    assert_eq!(paths.last(), Some(&Path::Stack(Reason::SmallStream)));
    for answers in 1..100 {
        assert_eq!(choose(&mut direction, &PathInputs { peer_activity: answers, ..CALM }), Path::Redirect);
    }
    for _ in 0..100 {
        assert_eq!(
            choose(&mut direction, &PathInputs { size: WORTH_ALONE, limit: 1 << 20, ..CALM }),
            Path::Redirect
        );
    }
}
