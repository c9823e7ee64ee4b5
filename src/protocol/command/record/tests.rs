use super::*;

#[test]
fn a_record_is_small() {
    assert!(size_of::<Record>() <= 112, "{}", size_of::<Record>());
}

#[test]
fn user_flags_are_a_set_of_128() {
    let flags = UserFlags::from_iter([0, 63, 64, 127, 128, 1000]);
    assert_eq!(flags.iter().collect::<Vec<_>>(), [0, 63, 64, 127]);
    assert!(!flags.contains(1));
    assert!(UserFlags::default().is_empty());
}
