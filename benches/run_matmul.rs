//! Runs the benchmark of products.

/// As the package has it.
#[cfg(not(feature = "python"))]
#[global_allocator]
static ALLOCATOR: warmstart::benches::Allocator = warmstart::benches::Allocator;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    warmstart::benches::matmul::main()
}
