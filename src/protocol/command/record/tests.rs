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

#[test]
fn conversation_ids_are_hexadecimal() {
    assert_eq!(
        hexadecimal(b"4e35718f4f112505"),
        Some(0x4e35_718f_4f11_2505)
    );
    for text in ["", "+1", "4e35718f4f1125050", "x"] {
        assert_eq!(hexadecimal(text.as_bytes()), None, "{text:?}");
    }
}
