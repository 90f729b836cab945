//! The house's own rules, read from its source: a module uses only modules that `src/lib.rs` lists
//! before it, no file passes 400 lines without its tests, no function passes 60.
//!
//! Tests obey the order too. `main.rs`, and the modules it declares, stand outside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;

#[test]
fn a_module_uses_only_modules_listed_before_it() -> io::Result<()> {
    let order = declared_modules(&fs::read_to_string(root().join("src/lib.rs"))?);
    assert!(
        order.len() > 10,
        "src/lib.rs lists {order:?}: is its form still `pub mod x;`?"
    );
    let of_main = declared_modules(&fs::read_to_string(root().join("src/main.rs"))?);

    let mut faults = Vec::new();
    for file in sources("src")? {
        let Some(module) = file.module.first() else {
            continue;
        };
        if !of_main.contains(module) {
            faults.extend(upward_edges(&file, &order));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    Ok(())
}

#[test]
fn no_file_is_longer_than_400_lines_without_its_tests() -> io::Result<()> {
    let mut faults = Vec::new();
    for file in all_sources()? {
        let lines = lines_before_tests(&file.text);
        if !file.is_tests() && lines > FILE_LINES {
            faults.push(format!(
                "{}: {lines} lines, at most {FILE_LINES}",
                file.path
            ));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    Ok(())
}

#[test]
fn no_function_is_longer_than_60_lines() -> io::Result<()> {
    let mut faults = Vec::new();
    for file in all_sources()?.iter().filter(|file| !file.is_tests()) {
        let tests_start = lines_before_tests(&file.text) + 1;
        for Function { name, line, lines } in functions(&file.text) {
            if line < tests_start && lines > FUNCTION_LINES {
                let path = &file.path;
                faults.push(format!(
                    "{path}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES}"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    Ok(())
}

/// A source file of the tree.
struct Source {
    /// Relative to the repository, for messages.
    path: String,
    /// `["secret", "source"]` for `src/secret/source.rs`; empty for `lib.rs` and `main.rs`.
    module: Vec<String>,
    text: String,
}

impl Source {
    fn is_tests(&self) -> bool {
        self.module.iter().any(|part| part == "tests")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn all_sources() -> io::Result<Vec<Source>> {
    let mut all = sources("src")?;
    all.extend(sources("simulator/src")?);
    Ok(all)
}

/// Every `.rs` file below `folder`, by path.
fn sources(folder: &str) -> io::Result<Vec<Source>> {
    let mut found = Vec::new();
    let mut pending = vec![root().join(folder)];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries: io::Result<Vec<_>> = fs::read_dir(&path)?.collect();
            pending.extend(entries?.into_iter().map(|entry| entry.path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(source(folder, &path)?);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn source(folder: &str, path: &Path) -> io::Result<Source> {
    let inside = path.strip_prefix(root().join(folder)).unwrap_or(path);
    let module: Vec<String> = inside
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let is_root = matches!(module.as_slice(), [name] if name == "lib" || name == "main");
    Ok(Source {
        path: PathBuf::from(folder).join(inside).display().to_string(),
        module: if is_root { Vec::new() } else { module },
        text: fs::read_to_string(path)?,
    })
}

/// The names of `mod x;` and `pub mod x;`, in their order.
fn declared_modules(text: &str) -> Vec<String> {
    let tokens = lex(text);
    let names = tokens.windows(3).filter_map(|window| match window {
        [keyword, name, end] if keyword.text == "mod" && end.text == ";" => Some(name.text),
        _ => None,
    });
    names.map(str::to_owned).collect()
}

/// One line for each use of a module that comes later in `order`, or that is not in it.
fn upward_edges(file: &Source, order: &[String]) -> Vec<String> {
    let place = |name: &str| order.iter().position(|module| module == name);
    let own = file.module.first().map_or("", String::as_str);
    let Some(floor) = place(own) else {
        return vec![format!(
            "{}: `{own}` is not declared in src/lib.rs",
            file.path
        )];
    };
    let mut faults = Vec::new();
    for Edge { line, name } in edges(file) {
        let reason = match place(&name) {
            Some(target) if target <= floor => continue,
            Some(_) => "comes after it in src/lib.rs",
            None => "is not a module that src/lib.rs lists",
        };
        faults.push(format!(
            "{}:{line}: `{own}` uses `{name}`, which {reason}",
            file.path
        ));
    }
    faults
}

/// A path that names something of the crate's root.
#[derive(Debug, Eq, PartialEq)]
struct Edge {
    line: usize,
    name: String,
}

/// Every path in `file` that goes through the crate's root: `crate::x`, each `x` of
/// `crate::{x, y}`, and as many `super::` as lead out of the file's top-level module.
fn edges(file: &Source) -> Vec<Edge> {
    let tokens = lex(&file.text);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut found = Vec::new();
    let mut depth = 0_usize;
    // The brace depths at which the inline modules round the current token began.
    let mut inline = Vec::new();
    for at in 0..tokens.len() {
        match text(at) {
            "{" => {
                depth += 1;
                if at >= 2 && text(at - 2) == "mod" {
                    inline.push(depth);
                }
            }
            "}" => {
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
                depth = depth.saturating_sub(1);
            }
            "crate" if text(at + 1) == "::" => found.extend(names_at(&tokens, at + 2)),
            "super" if at < 2 || text(at - 2) != "super" => {
                let mut after = at;
                while text(after) == "super" && text(after + 1) == "::" {
                    after += 2;
                }
                if (after - at) / 2 >= file.module.len() + inline.len() {
                    found.extend(names_at(&tokens, after));
                }
            }
            _ => {}
        }
    }
    found
}

/// The names that a path goes on with at token `start`: one, or those of a group in braces. The
/// names of macros are left out, because `#[macro_export]` puts them all into the root.
fn names_at(tokens: &[Token<'_>], start: usize) -> Vec<Edge> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut positions = Vec::new();
    if text(start) == "{" {
        let mut depth = 0_usize;
        for at in start..tokens.len() {
            match text(at) {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && matches!(text(at), "{" | ",") && !matches!(text(at + 1), "}" | "self")
            {
                positions.push(at + 1);
            }
        }
    } else if text(start + 1) != "!" {
        positions.push(start);
    }
    let edge = |token: &Token<'_>| Edge {
        line: token.line,
        name: token.text.to_owned(),
    };
    positions
        .into_iter()
        .filter_map(|at| tokens.get(at).map(edge))
        .collect()
}

/// How many lines stand before the tests: before `#[cfg(test)]` on a module that has a body here. One
/// that is a file of its own is only named, wherever that is.
fn lines_before_tests(text: &str) -> usize {
    let tokens = lex(text);
    let cfg = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let tests = tokens
        .windows(cfg.len() + 2)
        .find(|window| {
            let begins = window
                .iter()
                .map(|token| token.text)
                .take(cfg.len())
                .eq(cfg);
            begins && window.last().is_some_and(|token| token.text == "{")
        })
        .and_then(|window| window.first());
    tests.map_or_else(|| text.lines().count(), |token| token.line - 1)
}

/// A function with a body.
#[derive(Debug, Eq, PartialEq)]
struct Function {
    name: String,
    line: usize,
    /// From the line of `fn` to that of the closing brace.
    lines: usize,
}

fn functions(text: &str) -> Vec<Function> {
    let tokens = lex(text);
    let mut found = Vec::new();
    for (at, window) in tokens.windows(2).enumerate() {
        let [keyword, name] = window else { continue };
        // Not `fn(u8)`, the type, nor `fn $name` of a macro.
        if keyword.text != "fn" || !name.text.starts_with(is_word) {
            continue;
        }
        let rest = tokens.iter().skip(at);
        if let Some(last) = end_of_body(rest) {
            let (name, line) = (name.text.to_owned(), keyword.line);
            found.push(Function {
                name,
                line,
                lines: last - line + 1,
            });
        }
    }
    found
}

/// The line of the brace that closes the first body in `tokens`; nothing if `;` comes before one.
fn end_of_body<'a>(tokens: impl Iterator<Item = &'a Token<'a>>) -> Option<usize> {
    // Brackets as well, because of the `;` in `[u8; 4]`.
    let mut brackets = 0_usize;
    let mut braces = 0_usize;
    for token in tokens {
        match token.text {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.saturating_sub(1),
            ";" if braces == 0 && brackets == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                if braces == 0 && brackets == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

/// A word, `::` or one other character of the code.
#[derive(Debug)]
struct Token<'a> {
    line: usize,
    text: &'a str,
}

/// The code of a source text without its comments, strings, characters and lifetimes.
fn lex(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, is_code) = if let Some(length) = literal_or_comment(rest) {
            (length, false)
        } else if is_word(first) {
            (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), true)
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        let (element, tail) = rest.split_at(length);
        if is_code {
            tokens.push(Token {
                line,
                text: element,
            });
        }
        line += element.matches('\n').count();
        rest = tail;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the comment, string, character or lifetime at the start of `text`.
fn literal_or_comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block_comment(text));
    }
    let plain = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let prefix = text.len() - plain.len();
    if let Some(raw) = plain.strip_prefix('r') {
        let body = raw.trim_start_matches('#');
        if body.starts_with('"') {
            let hashes = raw.len() - body.len();
            let closing = format!("\"{}", "#".repeat(hashes));
            let opening = prefix + 1 + hashes + 1;
            let end = text.get(opening..)?.find(&closing);
            return Some(end.map_or(text.len(), |end| opening + end + closing.len()));
        }
    }
    if let Some(body) = plain.strip_prefix('"') {
        return Some(prefix + 1 + closing(body, '"'));
    }
    let body = plain.strip_prefix('\'')?;
    let length = if body.starts_with('\\') || body.chars().nth(1) == Some('\'') {
        closing(body, '\'')
    } else {
        body.find(|c| !is_word(c)).unwrap_or(body.len())
    };
    Some(prefix + 1 + length)
}

/// The length of `text` up to and with the first `quote` that no backslash escapes.
fn closing(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut next = 0;
    for (at, pair) in text.as_bytes().windows(2).enumerate() {
        match pair {
            // `/*/` opens and does not close.
            _ if at < next => continue,
            b"/*" => depth += 1,
            b"*/" if depth == 1 => return at + 2,
            b"*/" => depth -= 1,
            _ => continue,
        }
        next = at + 2;
    }
    text.len()
}

mod the_scanner {
    use super::{Source, declared_modules, functions, lex, lines_before_tests, upward_edges};

    fn file(module: &[&str], text: &str) -> Source {
        Source {
            path: format!("src/{}.rs", module.join("/")),
            module: module.iter().map(|&part| part.to_owned()).collect(),
            text: text.to_owned(),
        }
    }

    fn faults(module: &[&str], text: &str) -> Vec<String> {
        let order = declared_modules("//! Docs.\npub mod low;\nmod middle;\n\npub mod high;\n");
        upward_edges(&file(module, text), &order)
    }

    #[test]
    fn a_planted_upward_edge_is_found_with_its_line() {
        let planted = "use std::io;\n\nuse crate::high::Thing;\n";
        assert_eq!(
            faults(&["middle"], planted),
            ["src/middle.rs:3: `middle` uses `high`, which comes after it in src/lib.rs"]
        );
    }

    #[test]
    fn only_tests_that_are_written_in_the_file_end_its_code() {
        let named = "mod a;\n#[cfg(test)]\nmod tests;\nfn f() {}\n";
        assert_eq!(lines_before_tests(named), 4);
        let written = "mod a;\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(lines_before_tests(written), 1);
    }

    #[test]
    fn every_spelling_of_an_upward_edge_is_found() {
        for (module, text) in [
            (&["middle"][..], "fn f() -> crate::high::Thing {}"),
            (&["middle"], "use crate::{low::A, high::B};"),
            (&["middle"], "use crate::{\n    low::{A, B},\n    high,\n};"),
            (&["middle"], "pub(crate) use crate::high;"),
            (&["middle"], "use super::high::Thing;"),
            (&["middle"], "use self::super::high::Thing;"),
            (&["middle", "part"], "use super::super::high::Thing;"),
            (&["middle", "part"], "use crate :: high :: Thing;"),
            (
                &["middle"],
                "#[cfg(test)]\nmod tests {\n    use super::super::high::Thing;\n}",
            ),
            (&["middle", "tests"], "use crate::high::Thing;"),
            (
                &["middle"],
                "const A: char = '\"'; use crate::high::A; const B: char = '\"';",
            ),
            (&["middle"], "fn f<'a>(a: &'a crate::high::A) {}"),
            (
                &["middle"],
                "macro_rules! m { () => { $crate::high::f() } }",
            ),
            (&["middle"], "mod a { mod b {} } use super::high::A;"),
        ] {
            let found = faults(module, text);
            assert_eq!(found.len(), 1, "{text} gave {found:?}");
            assert!(
                found.iter().all(|fault| fault.contains("uses `high`")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn downward_edges_and_mere_words_are_not_faults() {
        for (module, text) in [
            (
                &["middle"][..],
                "use crate::low::Thing;\nuse crate::middle::Other;",
            ),
            (&["middle"], "use crate::{low::{high, self}, middle};"),
            (
                &["middle"],
                "//! See [`crate::high::Thing`].\n/* use crate::high; */",
            ),
            (
                &["middle"],
                "const A: &str = \"crate::high\"; const B: &str = r#\"crate::high\"#;",
            ),
            (&["middle"], "mod tests { use super::*; use super::high; }"),
            (&["middle", "part"], "use super::high::Own;"),
            (
                &["middle", "part"],
                "mod tests { use super::super::high::Own; }",
            ),
            (&["middle"], "crate::some_macro!(1);"),
            (&["high"], "use crate::low::A; use super::middle::B;"),
        ] {
            assert_eq!(faults(module, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_hides_an_edge_is_a_fault() {
        assert_eq!(faults(&["low"], "use crate::*;").len(), 1);
        assert_eq!(faults(&["low"], "use crate::Reexported;").len(), 1);
        assert_eq!(faults(&["unlisted"], "").len(), 1);
    }

    #[test]
    fn literals_and_comments_are_no_code() {
        let text =
            "a /* b /*/ c */ d */ 'e' b'\\'' '\\u{7b}' \"f\\\"\n\" br##\"g\"# \"## &'h // i\n r#j";
        let words: Vec<_> = lex(text)
            .iter()
            .map(|token| (token.line, token.text))
            .collect();
        assert_eq!(words, [(1, "a"), (2, "&"), (3, "r"), (3, "#"), (3, "j")]);
    }

    #[test]
    fn a_file_is_counted_up_to_its_test_module() {
        assert_eq!(
            lines_before_tests("a\nb\n\n#[cfg(test)]\nmod tests {\n}\n"),
            3
        );
        assert_eq!(
            lines_before_tests("#[cfg(test)]\nfn helper() {}\nfn f() {}\n"),
            3
        );
    }

    #[test]
    fn a_function_is_counted_from_its_name_to_its_closing_brace() {
        let text = "trait T {\n    fn none(&self) -> [u8; 4];\n}\ntype F = fn(u8) -> u8;\n\
                    fn two() -> [u8; 2] {\n    [0; 2] }\nfn four(\n    a: u8,\n) {\n}\n";
        let found: Vec<_> = functions(text)
            .into_iter()
            .map(|found| (found.name, found.line, found.lines))
            .collect();
        assert_eq!(found, [("two".to_owned(), 5, 2), ("four".to_owned(), 7, 4)]);
    }
}
