use proptest::prelude::*;

use super::*;
use crate::dlist::{FileHeader, LiteralStyle};

/// Collects a line and its files.
struct Recorder {
    tree: TreeBuilder,
    files: Vec<(FileHeader, Vec<u8>)>,
    complete: usize,
}

impl Recorder {
    fn new(limits: &Limits) -> Recorder {
        Recorder {
            tree: TreeBuilder::new(limits),
            files: Vec::new(),
            complete: 0,
        }
    }
}

impl Visitor for Recorder {
    fn event(&mut self, event: Event<'_>) -> Result<(), ParseProblem> {
        match &event {
            Event::FileStart(file) => self.files.push(((*file).clone(), Vec::new())),
            Event::FileData(data) => self.files.last_mut().unwrap().1.extend_from_slice(data),
            Event::FileEnd => self.complete += 1,
            _ => {}
        }
        self.tree.event(event)
    }
}

type Files = Vec<(FileHeader, Vec<u8>)>;
type Outcome = (usize, Result<Line, ParseError>, Files);

/// Parses the first line of `input` in pieces of the given sizes, then octet by octet.
fn parse_in_pieces(input: &[u8], pieces: &[usize], limits: &Limits) -> Option<Outcome> {
    let mut parser = Parser::line(limits.clone());
    let mut recorder = Recorder::new(limits);
    let mut position = 0;
    let mut pieces = pieces.iter();
    while position < input.len() {
        let length = pieces.next().map_or(1, |length| (*length).max(1));
        let end = (position + length).min(input.len());
        let fed = parser.feed(&input[position..end], &mut recorder);
        position += fed.consumed;
        if let Some(result) = fed.result {
            let line = result.map(|()| recorder.tree.into_line());
            if line.is_ok() {
                assert_eq!(recorder.complete, recorder.files.len());
            }
            return Some((position, line, recorder.files));
        }
        assert_eq!(position, end, "everything is consumed while more is needed");
    }
    None
}

/// The first line of `input`, the same however it is cut.
fn parse(input: &[u8]) -> Outcome {
    let limits = Limits::default();
    let whole = parse_in_pieces(input, &[input.len()], &limits).expect("a complete line");
    let single = parse_in_pieces(input, &[], &limits).expect("a complete line");
    assert_eq!(without_offset(&whole), without_offset(&single));
    whole
}

fn without_offset(outcome: &Outcome) -> (usize, Result<&Line, ParseProblem>, &Files) {
    let line = outcome.1.as_ref().map_err(|error| error.problem);
    (outcome.0, line, &outcome.2)
}

fn line(key: &str, value: Value) -> Line {
    Line {
        key: key.to_owned(),
        value,
    }
}

fn pairs(pairs: &[(&str, Value)]) -> Value {
    Value::KvList(
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
    )
}

#[test]
fn lines_of_real_peers() {
    let (consumed, parsed, _) = parse(b"MAILBOXES (user.alice \"user.alice.a b\")\r\nNOOP\r\n");
    assert_eq!(consumed, 41);
    assert_eq!(
        parsed.unwrap(),
        line(
            "MAILBOXES",
            Value::List(vec![
                Value::text("user.alice"),
                Value::text("user.alice.a b")
            ])
        )
    );
    let (_, parsed, _) =
        parse(b"ANNOTATION %(MBOXNAME \"\" ENTRY /comment USERID NIL VALUE {5+}\r\n\\Sent)\n");
    assert_eq!(
        parsed.unwrap().value,
        pairs(&[
            ("MBOXNAME", Value::text("")),
            ("ENTRY", Value::text("/comment")),
            ("USERID", Value::Nil),
            ("VALUE", Value::text("\\Sent")),
        ])
    );
    let (_, parsed, _) =
        parse(b"X (\\Seen \"\\\\Seen\" \"NIL\" NIL {3}\r\nNIL nil a\x1fb x]y}z)\r\n");
    assert_eq!(
        parsed.unwrap().value,
        Value::List(vec![
            Value::Flag(b"\\Seen".to_vec()),
            Value::text("\\Seen"),
            Value::text("NIL"),
            Value::Nil,
            Value::text("NIL"),
            Value::text("nil"),
            Value::text("a\x1fb"),
            Value::text("x]y}z"),
        ])
    );
}

#[test]
fn white_space_is_skipped_around_elements_and_before_values() {
    let (_, parsed, _) = parse(b"K \t\r\n\x0b\x0c%(  A\r\n1 \"B\"   (\r\n x y ) {1}\r\nC() )\r\n");
    assert_eq!(
        parsed.unwrap(),
        line(
            "K",
            pairs(&[
                ("A", Value::text("1")),
                ("B", Value::List(vec![Value::text("x"), Value::text("y")])),
                ("C", Value::List(vec![])),
            ])
        )
    );
}

#[test]
fn files_go_to_their_sink() {
    let guid = "53a4fa8a78d952cca2a23d5c59ed1536d64540f5";
    let text = format!(
        "MESSAGE (%{{default {guid} 9}}\r\n)\r\n%{{\r\n%( %{{\"p 2\" {} 0}}\n NIL)\r\n",
        guid.to_ascii_uppercase()
    );
    let (consumed, parsed, files) = parse(text.as_bytes());
    assert_eq!(consumed, text.len());
    let header = |partition: &str, size| FileHeader {
        partition: partition.to_owned(),
        guid: guid.parse().unwrap(),
        size,
    };
    assert_eq!(
        files,
        [
            (header("default", 9), b")\r\n%{\r\n%(".to_vec()),
            (header("p 2", 0), Vec::new())
        ]
    );
    assert_eq!(
        parsed.unwrap().value,
        Value::List(vec![
            Value::File(header("default", 9)),
            Value::File(header("p 2", 0)),
            Value::Nil
        ])
    );
}

/// After any error the next command begins right behind the line (wire-protocol §7).
#[test]
fn malformed_lines_are_consumed_exactly() {
    let guid = "53a4fa8a78d952cca2a23d5c59ed1536d64540f5";
    for bad in [
        "  USER alice\r\n".to_owned(),
        "\r\n".to_owned(),
        "USER alice \r\n".to_owned(),
        "USER alice bob {5+}\r\n\nfoo\n x\r\n".to_owned(),
        "X %x\r\n".to_owned(),
        "X )\r\n".to_owned(),
        "X (a))\r\n".to_owned(),
        "X %(A )\r\n".to_owned(),
        "X %((a) b)\r\n".to_owned(),
        "X \"abc\r\n".to_owned(),
        "X {x}\r\n".to_owned(),
        "X {5+}x\r\n".to_owned(),
        "X (%{default 53a4 6}\r\n\n)\r\n\n\n %{default 53a4 2}\r\n\n\n)\r\n".to_owned(),
        format!("X (%{{default {guid} 4x}}\r\n"),
        format!("X (%{{default {guid} {}}}\r\n", "9".repeat(25)),
        format!("X (%{{default \"{guid}\"4}}\r\n\n\n\n\n\r\n"),
        "X (%{ 53a4 4}\r\n\n\n\n\n)\r\n".to_owned(),
        "X (%{default  4}\r\n\n\n\n\n)\r\n".to_owned(),
        format!("X (a)b %{{default {guid} 3}}\r\n\n\n\n {{1}}\r\n\n\r\n"),
        format!("X {}\r\n", "(".repeat(40)),
        "X \r \r\n\r\n)\r\n".to_owned(),
    ] {
        let (consumed, parsed, _) = parse(format!("{bad}NOOP\r\n").as_bytes());
        assert_eq!(consumed, bad.len(), "{bad:?}");
        assert!(parsed.is_err(), "{bad:?}");
    }
}

#[test]
fn bounds_are_kept_and_the_line_is_consumed() {
    let tight = Limits {
        line: 200,
        nesting: 3,
        list: 4,
        word: 40,
        quoted: 8,
        literal: 8,
        file: 8,
        tree: 400,
    };
    let guid = "53a4fa8a78d952cca2a23d5c59ed1536d64540f5";
    for (bad, what) in [
        (format!("X (a {} (b))\r\n", "1".repeat(41)), "word"),
        ("X (a \"123456789\" (b))\r\n".to_owned(), "quoted string"),
        (
            "X (a {9+}\r\n)\r\n)\r\n)\r\n (b))\r\n".to_owned(),
            "literal",
        ),
        (
            format!("X (%{{p {guid} 9}}\r\n)\r\n)\r\n)\r\n)\r\n"),
            "file",
        ),
        ("X (1 2 3 4 5)\r\n".to_owned(), "list"),
        ("X ((((x))))\r\n".to_owned(), "nesting"),
        (format!("X ({})\r\n", "\r\n".repeat(100)), "line"),
        (
            "X ((a b c d) (a b c d) (a b c d) (a b c d))\r\n".to_owned(),
            "command",
        ),
    ] {
        for pieces in [vec![], vec![1000], vec![5, 7, 1000]] {
            let input = format!("{bad}NOOP\r\n");
            let (consumed, parsed, files) =
                parse_in_pieces(input.as_bytes(), &pieces, &tight).unwrap();
            assert_eq!(consumed, bad.len(), "{bad:?}");
            assert!(
                matches!(
                    parsed.unwrap_err().problem,
                    ParseProblem::TooLarge { what: found, .. } if found == what
                ),
                "{bad:?}"
            );
            assert!(files.is_empty());
        }
    }
}

#[test]
fn numbers_beyond_32_bits_are_no_file_sizes() {
    let mut parser = Parser::line(Limits::default());
    let mut recorder = Recorder::new(&Limits::default());
    let header = format!("X %{{p {} 4294967296}}\r\n", "0".repeat(40));
    let fed = parser.feed(header.as_bytes(), &mut recorder);
    assert_eq!(fed.consumed, header.len());
    let error = fed.result.unwrap().unwrap_err();
    let announced = 1 << 32;
    assert_eq!(error.problem, ParseProblem::Endless { announced });
}

/// What nobody can wait for ends the line at once, in a list and behind an error, too.
#[test]
fn endless_literals_are_not_waited_for() {
    for (line, announced) in [
        ("X {999999999999+}\r\n", 999_999_999_999),
        ("X {999999999999}\r\n", 999_999_999_999),
        ("X (a (b {16777217+}\r\n", (16 << 20) + 1),
        ("X (a)b {999999999999+}\r\n", 999_999_999_999),
        ("X % %{p x 999999999999}\r\n", 999_999_999_999),
    ] {
        let mut parser = Parser::line(Limits::default());
        let mut recorder = Recorder::new(&Limits::default());
        let input = format!("{line}more");
        let fed = parser.feed(input.as_bytes(), &mut recorder);
        assert_eq!(fed.consumed, line.len(), "{line:?}");
        let error = fed.result.unwrap().unwrap_err();
        assert_eq!(
            error.problem,
            ParseProblem::Endless { announced },
            "{line:?}"
        );
    }
}

#[test]
fn store_values_stand_alone() {
    for bad in [
        "",
        " a",
        "a ",
        "a\n",
        "(a",
        "(a))",
        "%(A)",
        "%(A b",
        "\"a",
        "{3}\r\nab",
        "%",
        "{1}\r\nab",
        "%{p 0000000000000000000000000000000000000000 0}\r\n",
    ] {
        assert!(parse_value(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert_eq!(parse_value(b"abc").unwrap(), Value::text("abc"));
    assert_eq!(parse_value(b"NIL").unwrap(), Value::Nil);
    assert_eq!(parse_value(b"{3}\r\na\0b").unwrap(), Value::text("a\0b"));
    let long = vec![b'x'; 300_000];
    assert_eq!(parse_value(&long).unwrap(), Value::Text(long));
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~]{0,20}".prop_map(Value::text),
        "\\PC{0,8}".prop_map(Value::text),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Text),
        (1000_usize..1100).prop_map(|length| Value::Text(vec![b'x'; length])),
        Just(Value::text("NIL")),
    ];
    let leaf = prop_oneof![
        Just(Value::Nil),
        "\\\\[A-Za-z]{1,8}".prop_map(|flag| Value::Flag(flag.into_bytes())),
        text,
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            proptest::collection::vec(("[A-Z ]{1,6}|\\PC{1,3}", inner), 0..6)
                .prop_map(Value::KvList),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_survives_writing_and_reading_in_any_pieces(
        value in any_value(),
        plus in any::<bool>(),
        pieces in proptest::collection::vec(1_usize..20, 0..50),
    ) {
        let style = if plus { LiteralStyle::Plus } else { LiteralStyle::Plain };
        let bare = value.to_bytes(style);
        prop_assert_eq!(parse_value(&bare).unwrap(), value.clone());
        let input = [b"KEY ".as_slice(), &bare, b"\r\nNOOP\r\n"].concat();
        let (consumed, parsed, _) =
            parse_in_pieces(&input, &pieces, &Limits::default()).unwrap();
        prop_assert_eq!(consumed, input.len() - 6);
        prop_assert_eq!(parsed.unwrap(), line("KEY", value));
    }

    #[test]
    fn arbitrary_octets_are_harmless_and_cut_anywhere_alike(
        input in proptest::collection::vec(
            prop_oneof![
                any::<u8>(),
                proptest::sample::select(b"(){}%\\\"+0123 \r\n\nA".to_vec()),
            ],
            0..200,
        ),
        pieces in proptest::collection::vec(1_usize..20, 0..50),
    ) {
        let limits = Limits { nesting: 4, word: 10, literal: 20, ..Limits::default() };
        let whole = parse_in_pieces(&input, &[input.len()], &limits);
        let cut = parse_in_pieces(&input, &pieces, &limits);
        match (whole, cut) {
            (Some((consumed, Ok(line), _)), Some(other)) => {
                prop_assert_eq!(consumed, other.0);
                prop_assert_eq!(Ok(line), other.1);
            }
            (Some((consumed, Err(_), _)), Some(other)) => {
                prop_assert_eq!(consumed, other.0);
                prop_assert!(other.1.is_err());
            }
            (None, None) => {}
            (whole, cut) => prop_assert!(false, "{whole:?} {cut:?}"),
        }
        let _ = parse_value(&input);
    }
}
