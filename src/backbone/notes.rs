//! Warnings for users who open a model that can be used, but has a problem.

use serde_json::Value;

use super::finite::shorten;
use super::pretrained::Backbone;

impl Backbone {
    /// The warnings, as sentences: weights that are not finite, a head that is left out, tokens without an embedding.
    pub fn notes(&self) -> Vec<String> {
        let own = [self.not_finite_note(), self.head_note(), self.tokens_note()];
        own.into_iter().flatten().chain(self.tokenizer.notes()).map(|note| format!("{}: {note}", self.source)).collect()
    }

    fn not_finite_note(&self) -> Option<String> {
        let names = &self.report.not_finite;
        (!names.is_empty()).then(|| {
            format!(
                "NaN or infinite values in {} of {} tensors: {}. What is computed with them is an error",
                names.len(),
                self.report.loaded,
                shorten(names)
            )
        })
    }

    /// A note on a task head that was left out. Pretraining heads and buffers are not mentioned: every checkpoint has
    /// them.
    fn head_note(&self) -> Option<String> {
        let ignored = &self.report.ignored;
        if !ignored.iter().any(|name| self.config.is_of_task(name)) {
            return None;
        }
        let head: Vec<String> = ignored.iter().filter(|name| self.config.is_of_head(name)).cloned().collect();
        // Question-answering heads have no classes, whatever the configuration says.
        let is_regression = self.config.raw.get("problem_type").and_then(Value::as_str) == Some("regression");
        let has_classes = !is_regression && head.iter().any(|name| !name.starts_with("qa_outputs."));
        let labels = self.config.raw.get("id2label").filter(|_| has_classes).and_then(Value::as_object);
        let labels: Vec<String> = labels.into_iter().flatten().map(|(_, label)| label_text(label)).collect();
        let classes = if labels.is_empty() { String::new() } else { format!(" (classes {})", shorten(&labels)) };
        Some(format!(
            "the checkpoint's head {}{classes} is left out; an estimator's fit() begins a new one. \
             from_pretrained of TextClassifier, TextRegressor and TokenClassifier opens a model with its head, load() what \
             an estimator's save() wrote",
            shorten(&head)
        ))
    }

    fn tokens_note(&self) -> Option<String> {
        let rows = self.config.vocab_size;
        let beyond = self.tokenizer.beyond(rows);
        (!beyond.is_empty()).then(|| {
            let tokens: Vec<String> = beyond.iter().map(|(id, token)| format!("{token:?} ({id})")).collect();
            format!(
                "the model has rows for {rows} tokens (vocab_size), its tokenizer has added tokens beyond them: {}. A text \
                 that has one is refused",
                shorten(&tokens)
            )
        })
    }
}

fn label_text(label: &Value) -> String {
    label.as_str().map_or_else(|| label.to_string(), String::from)
}
