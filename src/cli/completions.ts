/** Shell completion scripts, generated from the commands themselves, so that they never get out of date. */
import { type Command, NAME } from "./arguments.ts";
import { finetuneCommand } from "./finetune/options.ts";
import { generateCommand } from "./generate_options.ts";
import { trainCommand } from "./train/options.ts";

/** A flag, and the words that may follow it; a file if there are none. */
interface Flag {
  readonly name: string;
  readonly description: string;
  readonly takesValue: boolean;
  readonly words: readonly string[];
}

interface Completed {
  readonly name: string;
  readonly description: string;
  readonly words: readonly string[];
  readonly flags: readonly Flag[];
}

/** Returns the script for a shell. */
export function completions(shell: "bash" | "zsh" | "fish", program: Command): string {
  const commands = program.commands.map((command): Completed => ({
    name: command.name(),
    description: command.description(),
    words: command.registeredArguments.flatMap((argument) => wordsOf(argument.name())),
    flags: flagsOf(OWN[command.name()]?.() ?? command),
  }));
  return {
    bash,
    zsh: (all: Completed[]) => `autoload -U bashcompinit && bashcompinit\n${bash(all)}`,
    fish,
  }
    [shell](commands);
}

/** Commands whose options are defined elsewhere. */
const OWN: Readonly<Record<string, () => Command>> = {
  train: trainCommand,
  finetune: finetuneCommand,
  generate: generateCommand,
};

function flagsOf(command: Command): Flag[] {
  const flags = command.options.map((option) => ({
    name: option.long!,
    description: option.description,
    takesValue: option.required || option.optional,
    words: wordsOf(/[<\[](.+)[>\]]/.exec(option.flags)?.[1] ?? ""),
  }));
  return [...flags, { name: "--help", description: "show the help", takesValue: false, words: [] }];
}

/** Splits `a|b|c` into the words to choose from. */
function wordsOf(value: string): string[] {
  return value.includes("|") ? value.split("|") : [];
}

function bash(commands: readonly Completed[]): string {
  const cases = commands.map(({ name, words, flags }) => {
    const values = flags.filter(({ takesValue }) => takesValue).map(({ name, words }) =>
      words.length
        ? `      ${name}) COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$word")); return ;;`
        : `      ${name}) COMPREPLY=($(compgen -f -- "$word")); return ;;`
    );
    const all = flags.map(({ name }) => name).join(" ");
    const others = words.length ? `-W "${words.join(" ")}"` : "-f";
    return `    ${name})
      case "$before" in
${values.join("\n")}
      esac
      if [[ "$word" == -* ]]; then COMPREPLY=($(compgen -W "${all}" -- "$word"))
      else COMPREPLY=($(compgen ${others} -- "$word")); fi ;;`.replace(
      /case "\$before" in\n\n {6}esac\n/,
      ":\n",
    );
  });
  const names = commands.map(({ name }) => name).join(" ");
  return `_${NAME}() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}"
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W "${names} --help --version" -- "$word"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
  esac
}
complete -o filenames -F _${NAME} ${NAME}`;
}

function fish(commands: readonly Completed[]): string {
  const quote = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = [`complete -c ${NAME} -n __fish_use_subcommand -f`];
  for (const { name, description, words, flags } of commands) {
    lines.push(`complete -c ${NAME} -n __fish_use_subcommand -a ${name} -d ${quote(description)}`);
    const here = `complete -c ${NAME} -n '__fish_seen_subcommand_from ${name}'`;
    if (words.length) lines.push(`${here} -f -a ${quote(words.join(" "))}`);
    for (const flag of flags) {
      const value = !flag.takesValue
        ? ""
        : flag.words.length
        ? ` -x -a ${quote(flag.words.join(" "))}`
        : " -r";
      lines.push(`${here} -l ${flag.name.slice(2)} -d ${quote(flag.description)}${value}`);
    }
  }
  return lines.join("\n");
}
