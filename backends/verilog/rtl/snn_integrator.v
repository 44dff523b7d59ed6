// The membranes of a population and the pass over them: u = V + I + b of every word, LANES neurons at a time.
// Between two passes they add what the ports bring; I is a constant input's current, added at every step.
//
//     address   a word and its place
//     x         read: u = V + I + b, cut to SATURATED bits
//     y         u is there; what `written` says of it is stored, or at stage x of a clear
module snn_integrator #(
    parameter LANES = 8, parameter BITS = 16,
    parameter GROUPS = 1, parameter ROWS = 1, parameter COLUMNS = 1, parameter WORDS = 1,
    parameter GROUP = 1, parameter ROW = 1, parameter COLUMN = 1, parameter WORD = 1,
    parameter HELD = 0,         // whether a port brings a constant current
    parameter SATURATED = 0,    // bits that u is limited to, once per step; 0: proved to fit
    parameter BIAS_BITS = 1, parameter BIAS_SPAN = 0, parameter BIAS_ROWS = 1, parameter BIAS_STEPS = 1,
    parameter BIAS = ""
) (
    input wire clk,
    input wire reset,
    // from the ports
    input wire in_valid,
    input wire in_held,
    input wire [WORD-1:0] in_target,
    input wire [LANES*BITS-1:0] in_data,
    // the pass: over what is cleared, or over a step
    input wire start,
    input wire clear,
    input wire move,
    input wire biased,          // whether b is added
    input wire next_step,       // to the bias of the next step
    input wire restart,         // to that of the first
    output wire fetch,          // the word at group and word is read
    output wire [GROUP-1:0] group,
    output wire [WORD-1:0] word,
    output reg y_valid,
    output reg [GROUP+ROW+COLUMN-1:0] y_place,
    output reg [LANES*BITS-1:0] u,
    input wire [LANES*BITS-1:0] written,
    output wire drained,
    // when and where `written` is stored, for what else is kept of a neuron
    output wire store,
    output wire [WORD-1:0] store_word
);
    wire scanning;
    wire [ROW-1:0] row;
    wire [COLUMN-1:0] column;
    snn_scan #(
        .GROUPS(GROUPS), .ROWS(ROWS), .COLUMNS(COLUMNS),
        .GROUP(GROUP), .ROW(ROW), .COLUMN(COLUMN), .WORD(WORD)
    ) scan (
        .clk(clk), .reset(reset), .start(start), .advance(move),
        .active(scanning), .word(word), .group(group), .row(row), .column(column)
    );

    reg x_valid;
    reg [WORD-1:0] x_word, y_word;
    reg [GROUP+ROW+COLUMN-1:0] x_place;
    assign fetch = scanning && move;
    assign drained = !start && !scanning && !x_valid && !y_valid;

    assign store = clear ? x_valid : y_valid && move;
    assign store_word = clear ? x_word : y_word;

    wire [LANES*BITS-1:0] membranes, currents;
    wire [LANES*BIAS_BITS-1:0] bias;
    snn_accumulator #(.LANES(LANES), .BITS(BITS), .WORDS(WORDS), .ADDRESS(WORD)) membrane (
        .clk(clk),
        .add(in_valid && !(HELD && in_held)), .add_address(in_target), .add_data(in_data),
        .scan(fetch), .scan_address(word), .scan_data(membranes),
        .write(store), .write_address(store_word), .write_data(written)
    );
    generate
        if (HELD) begin : constant
            snn_accumulator #(.LANES(LANES), .BITS(BITS), .WORDS(WORDS), .ADDRESS(WORD)) current (
                .clk(clk),
                .add(in_valid && in_held), .add_address(in_target), .add_data(in_data),
                .scan(fetch), .scan_address(word), .scan_data(currents),
                .write(clear && x_valid), .write_address(x_word), .write_data({LANES*BITS{1'b0}})
            );
        end else begin : events_only
            assign currents = 0;
        end
    endgenerate
    snn_parameter #(
        .WIDTH(LANES * BIAS_BITS), .SPAN(BIAS_SPAN), .ROWS(BIAS_ROWS), .STEPS(BIAS_STEPS),
        .GROUP(GROUP), .WORD(WORD), .FILE(BIAS)
    ) b (
        .clk(clk), .restart(reset || restart), .next_step(next_step), .enable(fetch),
        .group(group), .word(word), .data(bias)
    );

    // Signed operands are extended to the width of a result; membranes are proved to fit into BITS.
    // verilator lint_off WIDTH
    reg [LANES*BITS-1:0] sums;
    reg signed [BITS-1:0] sum;
    reg signed [BIAS_BITS-1:0] added;
    localparam signed [BITS-1:0] MOST = SATURATED ? (1 <<< (SATURATED - 1)) - 1 : 0;
    integer i;
    always @* begin
        for (i = 0; i < LANES; i = i + 1) begin
            added = bias[i*BIAS_BITS +: BIAS_BITS];
            sum = membranes[i*BITS +: BITS] + currents[i*BITS +: BITS];
            if (biased) sum = sum + added;
            if (SATURATED && sum > MOST) sum = MOST;
            if (SATURATED && sum < -MOST) sum = -MOST;
            sums[i*BITS +: BITS] = sum;
        end
    end
    // verilator lint_on WIDTH

    always @(posedge clk) begin
        if (move) begin
            x_valid <= fetch;
            x_word <= word;
            x_place <= {group, row, column};
            y_valid <= x_valid && !clear;
            y_word <= x_word;
            y_place <= x_place;
            u <= sums;
        end
        if (reset) begin
            x_valid <= 1'b0;
            y_valid <= 1'b0;
        end
    end
endmodule
