//! What 3.6.1 wrote for one real message (mailbox-format §14).

/// The index header.
pub const INDEX_HEADER: &str = "
    000000000000000000000011000000a000000070000000016b029e610000000100000000000001750000
    00006b029e6200000000000000000000000000000001000000000000000000000002000000000000000000
    00000100000000000000002ccfde95671e8dfc000000000000000000000000000000006fa94ce000000000
    00000000000000016b029e6100000000000000000000000000000000d790475c";

/// The index record.
pub const INDEX_RECORD: &str = "
    0000000169a57bc069a4d30000000175000000ec69a55430000000046b029e610000001000000001000000
    0000000000000000006b029e610000000bd5841fdbaa393ac5a7a71db0fbdb2f9ff97a0921000000000000
    000200000000000000000000000000000002e12e47968ab88f7a";

/// What follows the magic in `cyrus.header`.
pub const HEADER_LINE: &str =
    "%(T e N user.tv I q3fgr7etnueolpppp7y44dqn A %(tv lrswipkxtecdan) U (foo))\n";

const SECTION: &str = "
    00000003 00000000000000ec000000ec00000089 0000ffff 0000000000000000000000000000000000000000 00000000 0000000a
    000000f700000002000000f900000006 000c0000 75732d617363696900000000 f5f006cde2dc338991aac7619e3be43d55afbd65 00000006 00000000
    00000107000000570000015e0000000d 00080001 7574662d38000000 f09a82f82ae8c1c031c30d1b324f806767ae2cdf 00000009 00000000
    00000000 00000000";

/// The message itself.
pub fn message() -> Vec<u8> {
    "From: Ann Bee <ann@Example.ORG>
To: bob@example.com
Subject: hi
Date: Mon, 02 Mar 2026 10:11:12 +0100
Message-ID: <m1@example.org>
X-Mailer: demo
X-Other: no
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=b1

pre
--b1

Hello=
--b1
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<p>=C3=A4</p>
--b1--
"
    .replace('\n', "\r\n")
    .into_bytes()
}

/// The cache record, 904 octets.
pub fn cache_record() -> Vec<u8> {
    let address = r#"((NIL NIL "bob" "example.com")) NIL NIL NIL "<m1@example.org>")"#;
    let ann = r#"(("Ann Bee" NIL "ann" "Example.ORG"))"#;
    let envelope =
        format!(r#"("Mon, 02 Mar 2026 10:11:12 +0100" "hi" {ann} {ann} {ann} {address}"#);
    let items: [Vec<u8>; 10] = [
        envelope.into_bytes(),
        br#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 6 0 NIL NIL NIL NIL)("TEXT" "HTML" ("CHARSET" "utf-8") NIL NIL "QUOTED-PRINTABLE" 13 0 NIL NIL NIL NIL) "ALTERNATIVE" ("BOUNDARY" "b1") NIL NIL NIL)"#.to_vec(),
        br#"(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 6 0)("TEXT" "HTML" ("CHARSET" "utf-8") NIL NIL "QUOTED-PRINTABLE" 13 0) "ALTERNATIVE")"#.to_vec(),
        unhex(SECTION),
        b"X-Mailer: demo\r\nContent-Type: multipart/alternative; boundary=b1\r\n".to_vec(),
        b"Ann Bee <ann@example.org>".to_vec(),
        b"<bob@example.com>".to_vec(),
        Vec::new(),
        Vec::new(),
        br#""hi""#.to_vec(),
    ];
    let mut record = Vec::new();
    for item in items {
        record.extend_from_slice(&(item.len() as u32).to_be_bytes());
        record.extend_from_slice(&item);
        record.resize(record.len().next_multiple_of(4), 0);
    }
    record
}

/// The octets that hexadecimal digits with white space between them stand for.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}
