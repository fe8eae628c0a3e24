//! Commands that documents show, with what they print; and whether a run prints the same.

use std::ops::Range;

/// A command at a prompt of a block of code, and the lines under it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// As a shell takes it.
    pub command: String,
    pub output: Vec<String>,
    /// Where the output stands in the document, in lines.
    pub at: Range<usize>,
}

/// All commands of a document.
pub fn shown(document: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let (mut in_block, mut goes_on) = (false, false);
    for (number, line) in document.lines().enumerate() {
        if line.starts_with("```") {
            in_block = !in_block;
            goes_on = false;
            // What follows a fence belongs to no command.
            if let Some(last) = found.last_mut().filter(|last| last.at.end == usize::MAX) {
                last.at.end = number;
            }
            continue;
        }
        let prompt = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")).filter(|_| in_block);
        match (prompt, found.last_mut().filter(|last| last.at.end == usize::MAX)) {
            (Some(command), last) => {
                if let Some(last) = last {
                    last.at.end = number;
                }
                goes_on = command.ends_with('\\');
                found.push(Shown {
                    command: command.to_owned(),
                    output: Vec::new(),
                    at: number + 1..usize::MAX,
                });
            }
            (None, Some(last)) if goes_on => {
                goes_on = line.ends_with('\\');
                last.command.push('\n');
                last.command.push_str(line);
                last.at.start = number + 1;
            }
            (None, Some(last)) => last.output.push(line.to_owned()),
            (None, None) => {}
        }
    }
    found
}

/// What is left of a line when all is taken away that differs from run to run: numbers the kernel gives (inodes,
/// ephemeral ports, pids behind a program's name), bytes that programs of other versions send, and the widths they make.
pub fn shape(line: &str) -> String {
    let mut shape = String::new();
    let mut word = String::new();
    for letter in line.trim_end().chars().chain([' ']) {
        if letter.is_ascii_digit() {
            word.push(letter);
            continue;
        }
        if !word.is_empty() {
            let is_large = word.parse::<u64>().is_ok_and(|number| number >= 32768);
            let given = is_large || letter == 'B' || follows_a_program(&shape);
            shape.push_str(if given { "N" } else { &word });
            word.clear();
        }
        let repeats = shape.ends_with(letter) && matches!(letter, ' ' | '─' | '═');
        if !repeats {
            shape.push(letter);
        }
    }
    shape.trim_end().to_owned()
}

/// `python3 ` before a number: that is its pid.
fn follows_a_program(before: &str) -> bool {
    before.strip_suffix(' ').is_some_and(|before| before.ends_with("python3") || before.ends_with("envoy"))
}

/// Whether these lines are those a document shows. There `...` stands for any lines, and at a line's end for the rest of it.
pub fn is_shown(document: &[String], printed: &[String]) -> bool {
    let Some((first, rest)) = document.split_first() else { return printed.is_empty() };
    if first == "..." {
        return (0..=printed.len()).any(|skipped| is_shown(rest, &printed[skipped..]));
    }
    let Some((line, more)) = printed.split_first() else { return false };
    let same = match first.strip_suffix("...") {
        Some(begin) => shape(line).starts_with(&shape(begin)),
        None => shape(first) == shape(line),
    };
    same && is_shown(rest, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn commands_are_found_with_what_they_print() {
        let found =
            shown("text\n```console\n$ a \\\n    b\none\ntwo\n$ c\n```\n$ not one\n```\nx\n# d\n```\n");
        let told: Vec<_> = found.iter().map(|s| (s.command.as_str(), s.output.len(), s.at.clone())).collect();
        assert_eq!(told, [("a \\\n    b", 2, 4..6), ("c", 0, 7..7), ("d", 0, 12..12)]);
    }

    #[test]
    fn what_differs_from_run_to_run_counts_for_nothing_and_the_rest_does() {
        let same = |a: &str, b: &str| is_shown(&lines(a), &lines(b));
        assert!(same("workload 4026532185-98487: ok", "workload 4026532999-1234567: ok"));
        assert!(same(" A      B\n────", " A  B\n──────────"));
        assert!(!same("PROGRAMS 7", "PROGRAMS 10"));
        assert!(same("562B", "570B") && !same("O15 1", "O15 2"));
        assert!(same("python3 21201 x", "python3 88 x") && !same("port 8080", "port 8081"));
        assert!(same("a\n...\nz", "a\nb\nc\nz") && same("a\n...\nz", "a\nz") && !same("a\n...\nz", "a\nb"));
        assert!(same("only a, b, ...", "only a, b, c, d") && !same("a\nb", "a"));
    }
}
