//! Every case there is. A file in `tests/faults` that is not named here fails a test.

macro_rules! case {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../tests/faults/", $name, ".json")))
    };
}

/// The names of the cases, and their text.
pub const CASES: &[(&str, &str)] = &[
    case!("a_double_spend_before_it_counts"),
    case!("a_double_spend_in_the_mempool"),
    case!("a_double_spend_six_blocks_deep"),
    case!("a_reorganisation_of_depth_1"),
    case!("a_reorganisation_of_depth_2"),
    case!("a_reorganisation_of_depth_3"),
    case!("a_reorganisation_of_depth_4"),
    case!("a_reorganisation_of_depth_5"),
    case!("a_reorganisation_of_depth_6"),
    case!("a_second_watched"),
    case!("a_settlement_reorganised"),
    case!("crashes_at_named_points"),
    case!("nothing_watched"),
    case!("the_clock_jumps"),
    case!("the_disks_are_slow"),
    case!("the_expiry_passes"),
    case!("the_ladder_is_climbed"),
    case!("the_payee_goes_away"),
    case!("the_payee_goes_away_after_a_timelock"),
    case!("the_payee_never_answers_the_deposit"),
    case!("the_payee_sleeps_past_a_lock"),
    case!("the_payee_sleeps_past_the_expiry"),
    case!("the_payees_disk_is_full"),
    case!("the_payer_goes_away"),
    case!("the_payer_plays_old_states"),
    case!("the_payers_disk_is_full"),
];
