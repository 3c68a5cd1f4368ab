//! Members of JSON objects, as lenient as the plugin reads them: names in any case, numbers with a
//! fraction, wrong types taken for missing where that is what it does.

use alloc::boxed::Box;
use alloc::string::String;

use serde::Serialize;
use serde_json::Value;

/// A member has another type than it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongType;

/// The member of this name.
pub(super) fn member<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    let members = object.as_object()?;
    members.get(name).or_else(|| {
        let mut all = members.iter();
        all.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}

/// A text; `None` when there is no such member.
pub(super) fn text<'v>(object: &'v Value, name: &str) -> Result<Option<&'v str>, WrongType> {
    match member(object, name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(WrongType),
    }
}

/// A text that must be there.
pub(super) fn required<'v>(object: &'v Value, name: &str) -> Result<&'v str, WrongType> {
    text(object, name)?.ok_or(WrongType)
}

/// A text, where anything else is as good as none.
pub(super) fn owned(object: &Value, name: &str) -> Option<Box<str>> {
    text(object, name).ok().flatten().map(Box::from)
}

/// A whole number, where anything else is as good as none; fractions are cut off.
pub(super) fn number(object: &Value, name: &str, default: i32) -> i32 {
    let Some(value) = member(object, name) else { return default };
    // The cast holds at the ends of the type.
    value.as_f64().map_or(default, |number| number as i32)
}

/// True or false, where anything else is as good as none.
pub(super) fn flag(object: &Value, name: &str) -> Option<bool> {
    member(object, name).and_then(Value::as_bool)
}

/// A list; `None` when there is none, or something else.
pub(super) fn list<'v>(object: &'v Value, name: &str) -> Option<&'v [Value]> {
    member(object, name).and_then(Value::as_array).map(|list| &list[..])
}

/// A JSON object being written, its members in the order they come.
pub(super) struct ObjectText(String);

impl ObjectText {
    pub(super) fn new() -> Self {
        Self("{".into())
    }

    pub(super) fn with(self, name: &str, value: &impl Serialize) -> Self {
        // Texts, numbers, lists and objects of them can't fail to be written.
        let text = serde_json::to_string(value).unwrap_or_default();
        self.with_text(name, &text)
    }

    /// A member whose value is JSON already.
    pub(super) fn with_text(mut self, name: &str, json: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
        self.0.push_str(json);
        self
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_read_as_the_plugin_reads_them() {
        let object = json!({"Name": "x", "n": 1.7, "big": 1e300, "low": -5, "t": true, "l": [1]});
        assert_eq!(text(&object, "name"), Ok(Some("x")));
        assert_eq!(text(&object, "n"), Err(WrongType));
        assert_eq!(text(&object, "absent"), Ok(None));
        assert_eq!(required(&object, "absent"), Err(WrongType));
        assert_eq!(owned(&object, "n"), None);
        assert_eq!(number(&object, "n", 9), 1);
        assert_eq!(number(&object, "big", 9), i32::MAX);
        assert_eq!(number(&object, "low", 9), -5);
        assert_eq!(number(&object, "name", 9), 9);
        assert_eq!((flag(&object, "t"), flag(&object, "n")), (Some(true), None));
        assert_eq!(list(&object, "l").map(<[Value]>::len), Some(1));
        assert_eq!(member(&json!([1]), "x"), None);
    }

    #[test]
    fn objects_keep_the_order_they_are_written_in() {
        let text = ObjectText::new().with("z", &"a\"b").with_text("a", "[1]").finish();
        assert_eq!(text, r#"{"z":"a\"b","a":[1]}"#);
        assert_eq!(ObjectText::new().finish(), "{}");
    }
}
