//! The program `filial`; everything is in the library, where tests reach it.

fn main() -> std::process::ExitCode {
    filial::main()
}
