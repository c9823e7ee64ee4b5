//! The parser as a whole.

use super::*;

fn parse(message: &[u8]) -> ParsedMessage {
    let mut parser = MessageParser::new(&ParserOptions::default());
    parser.feed(message);
    parser.finish()
}

/// The items of a cache record.
fn items(cache: &[u8]) -> Vec<&[u8]> {
    let mut items = Vec::new();
    let mut rest = cache;
    while let Some((word, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*word) as usize;
        items.push(&after[..length]);
        rest = &after[length.next_multiple_of(4)..];
    }
    items
}

/// The message of mailbox-format §14.
const VECTOR: &[u8] = b"From: Ann Bee <ann@Example.ORG>\r\n\
To: bob@example.com\r\n\
Subject: hi\r\n\
Date: Mon, 02 Mar 2026 10:11:12 +0100\r\n\
Message-ID: <m1@example.org>\r\n\
X-Mailer: demo\r\n\
X-Other: no\r\n\
MIME-Version: 1.0\r\n\
Content-Type: multipart/alternative; boundary=b1\r\n\
\r\n\
pre\r\n\
--b1\r\n\
\r\n\
Hello=\r\n\
--b1\r\n\
Content-Type: text/html; charset=utf-8\r\n\
Content-Transfer-Encoding: quoted-printable\r\n\
\r\n\
<p>=C3=A4</p>\r\n\
--b1--\r\n";

#[test]
fn spec_vector() {
    let parsed = parse(VECTOR);
    assert_eq!(parsed.size, 373);
    assert_eq!(
        parsed.guid.to_string(),
        "d5841fdbaa393ac5a7a71db0fbdb2f9ff97a0921"
    );
    assert_eq!(parsed.header_size, 236);
    let dates = parsed.dates(UnixTime(1_772_452_800), &TimeZone::UTC);
    assert_eq!(dates.sent_date, UnixTime(1_772_409_600));
    assert_eq!(dates.gm_time, UnixTime(1_772_442_672));

    let items = items(&parsed.cache);
    let from = "((\"Ann Bee\" NIL \"ann\" \"Example.ORG\"))";
    assert_eq!(
        String::from_utf8_lossy(items[0]),
        format!(
            "(\"Mon, 02 Mar 2026 10:11:12 +0100\" \"hi\" {from} {from} {from} \
             ((NIL NIL \"bob\" \"example.com\")) NIL NIL NIL \"<m1@example.org>\")"
        )
    );
    assert_eq!(
        String::from_utf8_lossy(items[1]),
        "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 6 0 NIL NIL NIL NIL)\
         (\"TEXT\" \"HTML\" (\"CHARSET\" \"utf-8\") NIL NIL \"QUOTED-PRINTABLE\" 13 0 NIL NIL NIL NIL) \
         \"ALTERNATIVE\" (\"BOUNDARY\" \"b1\") NIL NIL NIL)"
    );
    assert_eq!(
        String::from_utf8_lossy(items[2]),
        "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 6 0)\
         (\"TEXT\" \"HTML\" (\"CHARSET\" \"utf-8\") NIL NIL \"QUOTED-PRINTABLE\" 13 0) \"ALTERNATIVE\")"
    );
    let section: String = items[3].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        section,
        "0000000300000000000000ec000000ec000000890000ffff0000000000000000000000000000000000000000\
         000000000000000a\
         000000f700000002000000f900000006000c000075732d617363696900000000\
         f5f006cde2dc338991aac7619e3be43d55afbd650000000600000000\
         00000107000000570000015e0000000d000800017574662d38000000\
         f09a82f82ae8c1c031c30d1b324f806767ae2cdf0000000900000000\
         0000000000000000"
    );
    assert_eq!(
        String::from_utf8_lossy(items[4]),
        "X-Mailer: demo\r\nContent-Type: multipart/alternative; boundary=b1\r\n"
    );
    assert_eq!(items[5], b"Ann Bee <ann@example.org>");
    assert_eq!(items[6], b"<bob@example.com>");
    assert_eq!((items[7], items[8]), (&b""[..], &b""[..]));
    assert_eq!(items[9], b"\"hi\"");
    assert_eq!(items.len(), 10);
    assert_eq!(parsed.cache.len(), 904);
    assert_eq!(parsed.cache_crc, 0xE12E_4796);
}
