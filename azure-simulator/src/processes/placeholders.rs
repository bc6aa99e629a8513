//! Where a job's command says what an input or output stands for.

/// Puts `value` where the command says `${{inputs.name}}` or `${{outputs.name}}`.
pub(crate) fn replaced(command: &str, (kind, name): (&str, &str), value: &str) -> String {
    let mut result = String::new();
    let mut rest = command;
    while let Some(at) = rest.find("${{") {
        let Some(length) = rest[at..].find("}}") else {
            break;
        };
        let inside = rest[at + 3..at + length].trim();
        result.push_str(&rest[..at]);
        if inside.split_once('.') == Some((kind, name)) {
            result.push_str(value);
        } else {
            result.push_str(&rest[at..at + length + 2]);
        }
        rest = &rest[at + length + 2..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_input_is_replaced() {
        assert_eq!(
            replaced(
                "run a=${{inputs.a}} b=${{ inputs.ab }} c=${{outputs.a}}",
                ("inputs", "a"),
                "/mnt/x"
            ),
            "run a=/mnt/x b=${{ inputs.ab }} c=${{outputs.a}}"
        );
    }
}
