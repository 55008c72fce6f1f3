//! A library of functions: its name, as a server reads it, and its functions, as far as they are known.
//! Pure.

use crate::resp::Value;

/// The most of a library's first line that is read for its name.
const LONGEST_LINE: usize = 4096;
/// How far behind a table's beginning the name of a function is looked for.
const LONGEST_TABLE: usize = 4096;

/// A library of functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Library {
    pub(super) name: Vec<u8>,
    pub(super) functions: Vec<Vec<u8>>,
    /// Its code, where the server was asked for it.
    pub(super) code: Option<Vec<u8>>,
}

impl Library {
    /// By its code: the functions are those that are registered by a name that stands there.
    pub(super) fn of_code(code: &[u8]) -> Self {
        let name = name(code).unwrap_or_default();
        Self { name, functions: registered(code), code: None }
    }

    /// A function that both have; servers do not tell upper from lower case.
    pub(super) fn shares<'a>(&'a self, other: &Self) -> Option<&'a [u8]> {
        let taken = |name: &&Vec<u8>| {
            other.functions.iter().any(|theirs| theirs.eq_ignore_ascii_case(name))
        };
        self.functions.iter().find(taken).map(Vec::as_slice)
    }
}

/// A value of a list of names and values.
fn field(of: &Value, name: &[u8]) -> Option<Value> {
    let pairs = of.elements()?;
    let at = pairs.iter().position(|word| word.bytes() == Some(name))?;
    pairs.get(at + 1).cloned()
}

/// A string's bytes.
fn text(value: Value) -> Option<Vec<u8>> {
    value.bytes().map(<[u8]>::to_vec)
}

/// What `FUNCTION LIST` answers, `WITHCODE` or not: for each library a list of names and values.
pub(super) fn listed(libraries: &Value) -> Vec<Library> {
    let library = |library: &Value| {
        let functions = field(library, b"functions").unwrap_or(Value::Null);
        let names = functions.elements().unwrap_or_default().iter();
        Some(Library {
            name: field(library, b"library_name").and_then(text)?,
            functions: names.filter_map(|of| field(of, b"name").and_then(text)).collect(),
            code: field(library, b"library_code").and_then(text),
        })
    };
    libraries.elements().unwrap_or_default().iter().filter_map(library).collect()
}

/// The name in a library's first line: `#!lua name=mylib`.
fn name(code: &[u8]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"name=";
    let first = code.get(..LONGEST_LINE).unwrap_or(code);
    let line = first.split(|&byte| byte == b'\n').next()?;
    let named = |word: Vec<u8>| {
        let (key, value) = word.split_at_checked(NAME.len())?;
        key.eq_ignore_ascii_case(NAME).then(|| value.to_vec())
    };
    // What stands first is the engine.
    words(line)?.into_iter().skip(1).find_map(named)
}

/// The words of a line, as the servers' `sdssplitargs` takes it apart; `None`: a quote that is not closed.
fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut words, mut rest) = (Vec::new(), line);
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        while let Some((&byte, behind)) =
            rest.split_first().filter(|(byte, _)| !byte.is_ascii_whitespace())
        {
            rest = behind;
            match byte {
                b'"' | b'\'' => {
                    rest = quoted(byte, rest, &mut word)?;
                    if rest.first().is_some_and(|next| !next.is_ascii_whitespace()) {
                        return None;
                    }
                }
                byte => word.push(byte),
            }
        }
        words.push(word);
    }
}

/// Takes what stands in quotes, and returns what comes behind.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        match (byte, rest) {
            (byte, _) if byte == quote => return Some(rest),
            (b'\\', [b'x', high, low, behind @ ..])
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) << 4 | hex(*low));
                rest = behind;
            }
            (b'\\', [escaped, behind @ ..]) if quote == b'"' || *escaped == b'\'' => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = behind;
            }
            (byte, _) => word.push(byte),
        }
    }
}

fn hex(digit: u8) -> u8 {
    let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    value.unwrap_or_default()
}

/// The names in calls of `register_function('name', …)` and `register_function{function_name='name', …}`.
fn registered(code: &[u8]) -> Vec<Vec<u8>> {
    const CALL: &[u8] = b"register_function";
    const KEY: &[u8] = b"function_name";
    let mut names = Vec::new();
    for at in (0..code.len()).filter(|&at| code.get(at..).is_some_and(|c| c.starts_with(CALL))) {
        let (before, call) = code.split_at(at);
        let line = before.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        if line.windows(2).any(|two| two == b"--") {
            continue;
        }
        let open = |text: &'_ [u8], byte: u8| text.trim_ascii_start().first() == Some(&byte);
        let mut rest = call.get(CALL.len()..).unwrap_or_default();
        if open(rest, b'(') {
            rest = rest.trim_ascii_start().get(1..).unwrap_or_default();
        }
        if open(rest, b'{') {
            let table = rest.get(..LONGEST_TABLE).unwrap_or(rest);
            let Some(key) = table.windows(KEY.len()).position(|part| part == KEY) else { continue };
            let value = table.get(key + KEY.len()..).unwrap_or_default().trim_ascii_start();
            let Some(value) = value.strip_prefix(b"=") else { continue };
            rest = value;
        }
        let Some((&quote, text)) = rest.trim_ascii_start().split_first() else { continue };
        if matches!(quote, b'"' | b'\'') {
            names.extend(text.split(|&byte| byte == quote).next().map(<[u8]>::to_vec));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_named_in_its_first_line() {
        let named = |code: &[u8]| name(code).map(|name| String::from_utf8(name).unwrap());
        let cases: [(&[u8], Option<&str>); 11] = [
            (b"#!lua name=mylib\nlocal name=x", Some("mylib")),
            (b"#!js  api_version=1.0 name=a_b\r\n", Some("a_b")),
            (b"#!lua NAME=x\n", Some("x")),
            (b"#!lua Name=X\n", Some("X")),
            (b"#!lua \"name=x\"\n", Some("x")),
            (b"#!lua name=\"x\"\n", Some("x")),
            (b"#!lua\t'name=x'\r\n", Some("x")),
            (b"#!lua name=\"\\x78y\"\n", Some("xy")),
            (b"#!lua \"name=x\n", None),
            (b"#!lua\nname=x", None),
            (b"", None),
        ];
        for (code, expected) in cases {
            assert_eq!(named(code).as_deref(), expected, "{}", code.escape_ascii());
        }
    }

    #[test]
    fn functions_are_found_where_they_are_registered() {
        let code = b"#!lua name=x\n\
            redis.register_function('one', function() return 1 end)\n\
            -- redis.register_function('not', f)\n\
            server.register_function( \"two\" , f)\n\
            redis.register_function{callback=f, function_name = 'three', flags={'no-writes'}}\n\
            redis.register_function({\n  function_name='four', callback=f})\n\
            redis.register_function(name, f)\n";
        assert_eq!(registered(code), [&b"one"[..], b"two", b"three", b"four"]);
        assert!(registered(b"register_function").is_empty());
        assert!(registered(b"register_function({function_name").is_empty());
        let (one, other) = (Library::of_code(code), Library::of_code(b"register_function('TWO'"));
        assert_eq!(one.shares(&other), Some(&b"two"[..]));
        assert_eq!(one.shares(&Library::default()), None);
    }
}
